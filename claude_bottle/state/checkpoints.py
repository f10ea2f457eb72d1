"""The checkpoints of a bottle: files and conversation as they were together, each a directory that nobody writes to.

`checkpoints/<name>/` appears by one rename and holds `checkpoint.json`, the home in `home/` and, where the workspace is a
directory of the bottle's own, that in `workspace/`; an overlay's checkpoint names finished layers instead (see `layers`).
Files that did not change between two checkpoints are one file with two names, which is safe only because nothing writes to
either; what goes on from a checkpoint gets copies.
"""

from __future__ import annotations

import json
import os
import re
from typing import TYPE_CHECKING, NamedTuple

from claude_bottle.errors import BottleError, UsageError
from claude_bottle.state import damage, files
from claude_bottle.state.removal import remove_tree

if TYPE_CHECKING:
    from pathlib import Path

    from claude_bottle.state.paths import Paths

SCHEMA = 1
NOTE, HOME, WORKSPACE, SEEN = "checkpoint.json", "home", "workspace", "seen.json"
NEW, GONE = ".new-", ".gone-"
# Who wanted one: the operator, a rewinding (what there was until then), a fork of what is now, the end of a turn.
OPERATOR, REWIND, FORK, TURN = "operator", "rewind", "fork", "turn"
_PREFIX = {OPERATOR: "c", REWIND: "before-rewind-", FORK: "fork-", TURN: "turn-"}
_LIMIT = 1 << 20
_NAME = re.compile(r"[a-z0-9](?:[a-z0-9._-]{0,38}[a-z0-9])?")
_LAYER = re.compile(r"[0-9a-f]{16}")


class Checkpoint(NamedTuple):
    """`mode` is the workspace's; `layers` the finished ones that made it, newest first, None where it is a directory of its
    own (or, in a live one, not kept at all); `over` the live stack that the newest of them was copied over, None where it
    was finished; `since` as in `Layers`; `made` why there is one."""

    path: Path
    name: str
    created: str
    agent: str
    harness: str
    session_id: str
    mode: str
    source: str | None = None
    layers: tuple[str, ...] | None = None
    over: tuple[str, ...] | None = None
    since: int = 0
    made: str = OPERATOR

    @property
    def home(self) -> Path:
        return self.path / HOME

    @property
    def workspace(self) -> Path | None:
        return self.path / WORKSPACE if os.path.isdir(self.path / WORKSPACE) else None

    def to_dict(self) -> dict[str, object]:
        said = {name: list(value) if isinstance(value, tuple) else value for name, value in self._asdict().items()}
        del said["path"]
        return said


def check_name(name: str) -> str:
    """The name itself if it is well formed; else UsageError."""
    if _NAME.fullmatch(name):
        return name
    raise UsageError("not a checkpoint's name",
                     why="it has 1 to 40 lower-case letters, digits, ., - and _; a letter or digit at both ends")  # fmt: skip


def split(text: str) -> tuple[str, str]:
    """`IDENTITY[@CHECKPOINT]` as (identity, name or "")."""
    identity, mark, name = text.partition("@")
    return identity, check_name(name) if mark else ""


def known(paths: Paths, identity: str) -> list[Checkpoint]:
    """All of a bottle, oldest first; what cannot be read of them is passed over."""
    try:
        names = sorted(os.listdir(paths.checkpoints(identity)))
    except FileNotFoundError:
        return []
    found = []
    for name in names:
        try:
            found.append(load(paths, identity, name))
        except BottleError:
            continue
    return sorted(found, key=lambda one: (one.created, one.name))


def asked_for(paths: Paths, identity: str) -> bool:
    """Whether a bottle has one that an operator may mean to come back to."""
    return any(one.made in (OPERATOR, REWIND) for one in known(paths, identity))


def load(paths: Paths, identity: str, name: str) -> Checkpoint:
    """One of a bottle's; BottleError when there is none of that name, Damaged for one that makes no sense."""
    path = paths.checkpoints(identity) / check_name(name)
    try:
        said = files.read_json(path / NOTE, _LIMIT)
    except FileNotFoundError:
        raise BottleError(f"{identity} has no checkpoint {name}", do=f"claude-bottle checkpoints {identity}") from None
    texts = [said.get(key) for key in ("name", "created", "agent", "harness", "session_id", "mode")]
    source, since, made = said.get("source"), said.get("since"), said.get("made", OPERATOR)
    if (
        said.get("schema") != SCHEMA or not all(isinstance(text, str) for text in texts) or texts[0] != name
        or not (source is None or (isinstance(source, str) and os.path.isabs(source) and "\0" not in source))
        or type(since) is not int or not isinstance(made, str) or made not in _PREFIX
    ):  # fmt: skip
        raise damage.damaged(path / NOTE, "not a checkpoint")
    created, agent, harness, session, mode = map(str, texts[1:])
    layers, over = (_stack(path, said.get(key)) for key in ("layers", "over"))
    return Checkpoint(path, name, created, agent, harness, session, mode, source, layers, over, since, made)


def _stack(path: Path, value: object) -> tuple[str, ...] | None:
    if value is None:
        return None
    if not isinstance(value, list) or not all(isinstance(name, str) and _LAYER.fullmatch(name) for name in value):
        raise damage.damaged(path / NOTE, "not a list of layers")
    return tuple(value)


def next_name(paths: Paths, identity: str, made: str = OPERATOR) -> str:
    """c1, c2, …, or in the way of those that are `made` for another reason: later than all there are."""
    prefix = _PREFIX[made]
    numbers = [one.name.removeprefix(prefix) for one in known(paths, identity) if one.name.startswith(prefix)]
    return f"{prefix}{max((int(text) for text in numbers if text.isdecimal()), default=0) + 1}"


def prune(paths: Paths, identity: str, most: int) -> None:
    """Remove all of those that were made at the end of a turn but the newest `most`. Nobody else's are touched."""
    turns = [one for one in known(paths, identity) if one.made == TURN]
    for one in turns[: max(len(turns) - most, 0)]:
        gone = one.path.with_name(f"{GONE}{one.name}")
        os.rename(one.path, gone)
        remove_tree(gone)


def begin(paths: Paths, identity: str, name: str) -> Path:
    """An empty directory to make a checkpoint in. BottleError when the name is taken."""
    directory = paths.checkpoints(identity)
    files.ensure_private_dir(directory)
    if os.path.lexists(directory / check_name(name)):
        raise BottleError(f"{identity} has a checkpoint {name} already", do="choose another name, or none")
    for left in os.listdir(directory):
        if left.startswith((NEW, GONE)):
            remove_tree(directory / left)  # of one that a crash cut short: the caller holds the bottle
    staging = directory / f"{NEW}{name}"
    os.mkdir(staging, 0o700)
    return staging


def complete(staging: Path, made: Checkpoint) -> Checkpoint:
    """Note what it is and put it in place, whole."""
    final = staging.with_name(made.name)
    files.write_atomic(staging / NOTE, json.dumps({"schema": SCHEMA, **made.to_dict()}).encode())
    os.rename(staging, final)
    files.sync_directory(final.parent)
    return made._replace(path=final)
