"""Where everything of ours lies on this host: the one path authority.

Nothing here touches the disk but `ensure_root` and `check_root`; every other name is computed, and no path is made
from an identity that has not passed `check_identity`, so no identity can lead out of the root. Callers get
`pathlib.Path`, imported when the first one is asked for: it costs 4 ms that `ls` does without (dataclasses cost 10).
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING

from claude_bottle.errors import BottleError
from claude_bottle.model.names import agent_of, check_agent_name, check_identity
from claude_bottle.state import files

if TYPE_CHECKING:
    from pathlib import Path


class Paths:
    """The state root (`$CLAUDE_BOTTLE_HOME`) and what lies below it. Absolute paths, nothing resolved,
    nothing made."""

    __slots__ = ("_root", "_tools")

    def __init__(self, root: Path | str, tools: Path | str | None = None) -> None:
        self._root = os.path.abspath(root)
        self._tools = os.path.abspath(tools) if tools else os.path.join(self._root, "tools")

    @classmethod
    def default(cls, environ: Mapping[str, str] | None = None) -> Paths:
        """From CLAUDE_BOTTLE_HOME (default `~/.claude-bottle`) and CLAUDE_BOTTLE_TOOLS (default
        `<root>/tools`)."""
        env = os.environ if environ is None else environ
        root = env.get("CLAUDE_BOTTLE_HOME") or "~/.claude-bottle"
        tools = env.get("CLAUDE_BOTTLE_TOOLS")
        return cls(expand_home(root, env), expand_home(tools, env) if tools else None)

    def ensure_root(self) -> None:
        """Make the root (0700) if it is missing; refuse one that others own or may write to."""
        files.ensure_private_dir(self.root)

    def check_root(self) -> bool:
        """False when there is no root yet; refuses an unsafe one. Makes nothing (for `ls` and other
        readers)."""
        return files.check_private_dir(self._root)

    @property
    def root(self) -> Path:
        from pathlib import Path

        return Path(self._root)

    @property
    def tools(self) -> Path:
        """Where agent programs are installed; may lie outside the root."""
        from pathlib import Path

        return Path(self._tools)

    @property
    def config(self) -> Path:
        return self.root / "config.json"

    @property
    def trust(self) -> Path:
        return self.root / "trust.json"

    @property
    def run_dir(self) -> Path:
        return self.root / "run"

    @property
    def layer_store(self) -> Path:
        """Where layers built on this host lie, each under its name; shared by all bottles, read-only to them."""
        return self.root / "layers"

    @property
    def states(self) -> Path:
        """The directory that holds one directory per identity."""
        return self.root / "state"

    def socket(self, identity: str) -> Path:
        """The keeper's control socket. May be longer than sun_path: bind and connect by `state.sockets`."""
        return self.run_dir / f"{check_identity(identity)}.sock"

    def transcripts(self, agent: str, identity: str) -> Path:
        """Where the conversation is archived: outside the state directory, so that it outlives cleanup."""
        return self.root / "transcripts" / check_agent_name(agent) / check_identity(identity)

    def transcripts_of(self, identity: str) -> Path:
        """As `transcripts`, for whoever knows only the identity."""
        return self.transcripts(agent_of(identity), identity)

    def state(self, identity: str) -> Path:
        return self.states / check_identity(identity)

    def record(self, identity: str) -> Path:
        return self.state(identity) / "record.json"

    def states_text(self) -> str:
        """`states` as text, for `ls`."""
        return f"{self._root}/state"

    def record_text(self, identity: str) -> str:
        """`record` as text, for `ls`."""
        return f"{self._root}/state/{check_identity(identity)}/record.json"

    def requests(self, identity: str) -> Path:
        """What its agent asked for, and what came of it."""
        return self.state(identity) / "requests.json"

    def requests_text(self, identity: str) -> str:
        """`requests` as text, for `ls`."""
        return f"{self._root}/state/{check_identity(identity)}/requests.json"

    def plan(self, identity: str) -> Path:
        return self.state(identity) / "plan.json"

    def spent(self, identity: str) -> Path:
        return self.state(identity) / "spent.json"

    def spent_text(self, identity: str) -> str:
        """`spent` as text, for `ls`."""
        return f"{self._root}/state/{check_identity(identity)}/spent.json"

    def journal(self, identity: str) -> Path:
        return self.state(identity) / "journal.jsonl"

    def lock(self, identity: str) -> Path:
        return self.state(identity) / "lock"

    def recording(self, identity: str) -> Path:
        return self.state(identity) / "recording.cast"

    def home(self, identity: str) -> Path:
        """The agent's private home. With `workspace` and `layers`, all that a bottle ever sees of its
        state."""
        return self.state(identity) / "home"

    def workspace(self, identity: str) -> Path:
        return self.state(identity) / "workspace"

    def clone(self, identity: str) -> Path:
        """What is known of the clone that is the workspace: where it began."""
        return self.state(identity) / "clone.json"

    def checkpoints(self, identity: str) -> Path:
        return self.state(identity) / "checkpoints"

    def rewinding(self, identity: str) -> Path:
        """Which checkpoint the bottle is being taken back to, while it is."""
        return self.state(identity) / "rewinding.json"

    def held(self, identity: str) -> Path:
        """What stands in a live workspace in the place of what is missing there (see `keeper.live_work`)."""
        return self.state(identity) / "held.json"

    def live(self, identity: str) -> Path:
        """What of a live workspace would run by itself, as it was at the start (see `keeper.live_changes`)."""
        return self.state(identity) / "live"

    def base(self, identity: str) -> Path:
        """What the private workspace was made from."""
        return self.state(identity) / "base"

    def taken(self, identity: str) -> Path:
        """What of its work the operator has got."""
        return self.state(identity) / "taken.json"

    def work_note(self, identity: str) -> Path:
        return self.state(identity) / "work.json"

    def work_note_text(self, identity: str) -> str:
        """`work_note` as text, for `ls`."""
        return f"{self._root}/state/{check_identity(identity)}/work.json"

    def host_note(self, identity: str) -> Path:
        return self.state(identity) / "host.json"

    def host_note_text(self, identity: str) -> str:
        """`host_note` as text, for `ls`."""
        return f"{self._root}/state/{check_identity(identity)}/host.json"

    def layers(self, identity: str) -> Path:
        return self.state(identity) / "layers"

    def pushes(self, identity: str) -> Path:
        """What judges of its pushes work with, while it runs. Never seen in a bottle."""
        return self.state(identity) / "pushes"


def expand_home(text: str, environ: Mapping[str, str]) -> str:
    """`~` and `~/…` by $HOME or, where that is missing or not absolute, by the password database."""
    if text != "~" and not text.startswith("~/"):
        return text
    home = environ.get("HOME", "")
    if not os.path.isabs(home):
        home = _home_of_this_user()
    return home + text[1:]


def _home_of_this_user() -> str:
    import pwd

    try:
        return pwd.getpwuid(os.getuid()).pw_dir
    except KeyError:
        raise BottleError(
            "cannot tell where your home directory is",
            why=f"HOME is not set and user {os.getuid()} has no entry in the password database",
            do="set CLAUDE_BOTTLE_HOME to a directory of your own: export CLAUDE_BOTTLE_HOME=/path/to/dir",
        ) from None
