"""A live workspace's guards, and the empty places that hold what is missing at its top while a bottle runs.

A name can only be covered where it exists, so an empty directory (or file) of that name stands in the operator's directory
until the bottle ends. What is made is noted first, and removed later only if it is still what was made and still empty: what
the operator put there meanwhile is theirs. What the agent writes there lies in the state directory and goes with it.
"""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING

from claude_bottle.backend.protected import ABSENT_DIRECTORIES, ABSENT_FILES, GIT, PRIVATE, Guard, find
from claude_bottle.errors import BottleError
from claude_bottle.state import damage
from claude_bottle.state.files import ensure_private_dir, read_json, write_atomic

if TYPE_CHECKING:
    from claude_bottle.state.paths import Paths

_LIMIT = 1 << 20


def guard(paths: Paths, identity: str, workspace: Path) -> tuple[Guard, ...]:
    """Everything to be guarded in `workspace`, with places made for what is missing."""
    guards = find(workspace)
    missing = [name for name in (*ABSENT_DIRECTORIES, *ABSENT_FILES, f"{GIT}/hooks") if _is_missing(workspace, name)]
    if not missing:
        return guards
    private = paths.layers(identity) / "held"
    for directory in (private.parent, private):
        ensure_private_dir(directory)
    _note(paths, identity, workspace, dict.fromkeys(missing, 0))  # a crash while they are made finds them, too
    try:
        made = {name: _make(workspace / name, name in ABSENT_FILES) for name in missing}
        _note(paths, identity, workspace, made)
        held = tuple(Guard(name, PRIVATE, _private(private, name)) for name in missing)
    except OSError as problem:
        let_go(paths, identity)
        raise BottleError(f"cannot keep settings out of {workspace}", why=os.strerror(problem.errno or 0),
                          do='say "workspace": {"mode": "overlay"}, or make the directory writable') from problem  # fmt: skip
    above = () if f"{GIT}/hooks" not in missing or any(one.path == GIT for one in guards) else (Guard(GIT, "pinned"),)
    return tuple(sorted((*guards, *above, *held), key=lambda one: (one.path.count("/"), one.path)))


def _is_missing(workspace: Path, name: str) -> bool:
    """Not there, while what it would lie in is."""
    place = workspace / name
    return not os.path.lexists(place) and (place.parent == workspace or _is_directory(place.parent))


def _is_directory(place: Path) -> bool:
    try:
        return stat.S_ISDIR(os.lstat(place).st_mode)
    except OSError:
        return False


def _make(place: Path, file: bool) -> int:
    """An empty file or directory, its owner that of the directory it lies in; its inode's number."""
    if file:
        os.close(os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644))
    else:
        os.mkdir(place, 0o755)
    if os.geteuid() == 0:
        above = os.stat(place.parent)
        os.chown(place, above.st_uid, above.st_gid, follow_symlinks=False)
    return os.lstat(place).st_ino


def _private(directory: Path, name: str) -> Path:
    place = directory / name.replace("/", "-").lstrip(".")
    if name in ABSENT_FILES:
        place.touch(mode=0o600)
    else:
        place.mkdir(mode=0o700, exist_ok=True)
    return place


def _note(paths: Paths, identity: str, workspace: Path, made: dict[str, int]) -> None:
    write_atomic(paths.held(identity), json.dumps({"workspace": str(workspace), "made": made}).encode())


def let_go(paths: Paths, identity: str) -> None:
    """Remove the empty places that were made for this bottle; nothing happens when there are none. May be called again."""
    note = paths.held(identity)
    try:
        said = read_json(note, _LIMIT)
    except FileNotFoundError:
        return
    workspace, made = said.get("workspace"), said.get("made")
    if not isinstance(workspace, str) or not os.path.isabs(workspace) or not isinstance(made, dict):
        raise damage.damaged(note, "not a note of what was made")
    known = {*ABSENT_DIRECTORIES, *ABSENT_FILES, f"{GIT}/hooks"}
    for name, inode in sorted(made.items(), reverse=True):
        if name in known:
            _remove(Path(workspace) / name, inode)
    os.unlink(note)


def _remove(place: Path, inode: object) -> None:
    try:
        found = os.lstat(place)
        if inode not in (0, found.st_ino):
            return
        if stat.S_ISDIR(found.st_mode):
            os.rmdir(place)
        elif stat.S_ISREG(found.st_mode) and found.st_size == 0:
            os.unlink(place)
    except OSError:
        pass  # gone, or no longer empty: then it is somebody's
