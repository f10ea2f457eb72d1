"""What the rest of claude-bottle knows about an agent program: nothing but this.

A harness says where its program comes from, which files and variables it needs inside a bottle, how it is
started, and where it leaves its conversation. It may touch the private home it is handed and the tools
directory; it starts nothing inside a bottle (backends do) and knows no backend. The home is written by the
agent, so it is hostile: no link is followed, everything read from it is size-capped, and whatever is broken
is replaced.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from claude_bottle.values import dataclass, field

if TYPE_CHECKING:
    from claude_bottle.state.paths import Paths

# Where every backend puts these, so that a conversation can be resumed anywhere (contract §5).
HOME = "/home/agent"
WORKSPACE = "/workspace"
PROGRAMS = "/opt"

# `progress(text)` is told what an installation is doing, one short line a call; the caller decides how to
# show it.
Progress = Callable[[str], None]


@dataclass(frozen=True)
class Program:
    """An agent program found on this host.

    `mounts` are (host path, path inside the bottle), read-only, regular files or directories, no links;
    `argv0` is the path inside the bottle. `version` is "" where a program has none worth showing (a shell).
    """

    version: str
    mounts: tuple[tuple[str, str], ...]
    argv0: str

    def to_dict(self) -> dict[str, object]:
        mounts = [{"source": source, "target": target} for source, target in self.mounts]
        return {"version": self.version, "mounts": mounts, "argv0": self.argv0}


@dataclass(frozen=True)
class Skill:
    """A skill of an agent: its files, by path below its directory, and whether each is a program."""

    name: str
    files: tuple[tuple[str, bytes, bool], ...]
    sha256: str


@dataclass(frozen=True)
class Launch:
    """One start of an agent program: everything a harness needs to write its command, environment and seed
    files.

    `placeholders` maps the names of credential variables to the placeholders the bottle holds in their place
    (never secrets). `session_id` is a UUID fixed by us at first start. `resume` says that a conversation with
    this id exists. `tty` says that the agent gets a terminal; `headless` that no operator is attached
    (`run`). `terminal` is the operator's TERM, COLORTERM and NO_COLOR (more does no harm: only those are
    looked at). `note` is what a conversation that goes on begins with, by itself and in place of a prompt in `args`: our
    own words, which the agent reads as if the operator had typed them. `silent`: it begins with no prompt at all, whatever
    `args` say, because that has been said before.
    """

    program: Program
    args: tuple[str, ...] = ()
    model: str = ""
    prompt_text: str = ""
    session_id: str = ""
    resume: bool = False
    remote_control: bool = False
    tty: bool = True
    headless: bool = False
    placeholders: Mapping[str, str] = field(default_factory=dict)
    terminal: Mapping[str, str] = field(default_factory=dict)
    note: str = ""
    silent: bool = False
    skills: tuple[Skill, ...] = ()


class Harness(Protocol):
    """One agent program. Implementations are stateless; `get(name)` hands out one instance per name."""

    name: str
    supports_resume: bool
    takes_skills: bool

    def find(self, paths: Paths) -> Program | None:
        """The program already on this host (PATH, then the tools directory), or None. Downloads nothing."""

    def install(self, paths: Paths, progress: Progress) -> Program:
        """Put the pinned version into the tools directory. EnvironmentLacks when it cannot be had (offline,
        no room)."""

    def command(self, launch: Launch) -> list[str]:
        """The argv inside the bottle. Pure."""

    def environment(self, launch: Launch) -> dict[str, str]:
        """Variables the program needs besides credentials, proxies and CA settings (`trust_env`). Pure."""

    def seed(self, home: Path, launch: Launch) -> None:
        """Write the settings the program needs to start straight at its prompt into the private home on the
        host. Repeating it changes nothing; what the agent already has is kept; what is broken or a link is
        replaced."""

    def transcript_files(self, home: Path, session_id: str) -> list[tuple[str, Path]]:
        """The conversation's files that exist now, as (path relative to home, path on the host), main file
        first. Conversation only: never settings, hooks or credentials."""

    def latest_session(self, home: Path) -> str | None:
        """The id of the conversation written to last, or None. For a home whose agent started a new
        conversation."""

    def ended_turns(self, lines: Iterable[bytes]) -> int:
        """How many turns of the agent end in these lines of a conversation; whatever bytes they are."""

    def branch(self, home: Path, session_id: str, new_id: str) -> str:
        """Have the conversation of this home go on under another id, an unfinished last line left out; the id that it has
        now. Where nothing was said, or conversations have no id, nothing changes."""

    def placeholder_prefix(self, env_name: str) -> str:
        """What a placeholder for this credential variable must begin with so that the program accepts it, or
        ""."""
