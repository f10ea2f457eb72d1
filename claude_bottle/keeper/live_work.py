"""A live workspace's guards, and the empty places that hold what is missing at its top while a bottle runs.

A name can only be covered where it exists, so an empty directory (or file) of that name stands in the operator's directory
until the bottle ends. What is made is noted first, and removed later only if it is still what was made and still empty: what
the operator put there meanwhile is theirs. What the agent writes there lies in the state directory and goes with it.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from claude_bottle.backend.protected import ABSENT_DIRECTORIES, ABSENT_FILES, GIT, PINNED, PRIVATE, Guard, find
from claude_bottle.errors import BottleError
from claude_bottle.state import damage
from claude_bottle.state.files import ensure_private_dir, open_private, read_json, write_atomic
from claude_bottle.state.store import Store

if TYPE_CHECKING:
    from claude_bottle.state.paths import Paths

_LIMIT = 1 << 20
_NAMES = (*ABSENT_DIRECTORIES, *ABSENT_FILES, f"{GIT}/hooks")


def guard(paths: Paths, identity: str, workspace: Path) -> tuple[Guard, ...]:
    """Everything to be guarded in `workspace`, with places made for what is missing, or held with another bottle."""
    with _alone(paths):
        made = _hold(paths, identity, workspace)
    guards = [one for one in find(workspace) if one.path not in made]
    if made:
        private = paths.layers(identity) / "held"
        for directory in (private.parent, private):
            ensure_private_dir(directory)
        guards += [Guard(name, PRIVATE, _private(private, name)) for name in made]
    if f"{GIT}/hooks" in made and not any(one.path == GIT for one in guards):
        guards.append(Guard(GIT, PINNED))
    return tuple(sorted(guards, key=lambda one: (one.path.count("/"), one.path)))


def _hold(paths: Paths, identity: str, workspace: Path) -> dict[str, int]:
    """Make what is missing, but nothing in a place that was made; names with their inodes' numbers."""
    shared = _held_by_others(paths, identity, workspace)
    missing = [name for name in _NAMES if name not in shared and _is_missing(workspace, name)]
    if GIT in shared:
        missing = [name for name in missing if not name.startswith(f"{GIT}/")]
    _note(paths, identity, workspace, {**shared, **dict.fromkeys(missing, 0)})  # a crash while they are made finds them
    try:
        inodes = {name: _make(workspace / name, name in ABSENT_FILES) for name in missing}
    except OSError as problem:
        raise BottleError(f"cannot keep settings out of {workspace}", why=os.strerror(problem.errno or 0),
                          do='say "workspace": {"mode": "overlay"}') from problem  # fmt: skip
    made = {**shared, **{name: inode for name, inode in inodes.items() if inode}}
    _note(paths, identity, workspace, made)
    return made


@contextlib.contextmanager
def _alone(paths: Paths) -> Iterator[None]:
    """One of our processes at a time makes or removes places: the last of the bottles that hold one removes it."""
    fd = open_private(paths.root / "held.lock", os.O_RDWR | os.O_CREAT)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


def _held_by_others(paths: Paths, identity: str, workspace: Path) -> dict[str, int]:
    """Places in this directory that other bottles hold, with their inodes' numbers. Removing a place also takes it from every
    bottle where it is covered, so it stays as long as one of them is there."""
    found: dict[str, int] = {}
    for other in Store(paths).identities():
        if other != identity:
            with contextlib.suppress(OSError, BottleError):
                where, made = _noted(paths, other)
                found |= made if where == str(workspace) else {}
    return found


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
    """An empty file or directory, its owner that of the directory it lies in; its inode's number, 0 where none can be made:
    then no agent can, which has no more rights than we have."""
    try:
        if file:
            os.close(os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644))
        else:
            os.mkdir(place, 0o755)
    except OSError as problem:
        if problem.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            return 0
        raise
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


def _noted(paths: Paths, identity: str) -> tuple[str, dict[str, int]]:
    """The directory, and the places in it that were made for this bottle. FileNotFoundError, Damaged."""
    said = read_json(paths.held(identity), _LIMIT)
    workspace, made = said.get("workspace"), said.get("made")
    if not isinstance(workspace, str) or not os.path.isabs(workspace) or not isinstance(made, dict):
        raise damage.damaged(paths.held(identity), "not a note of what was made")
    return workspace, {name: inode for name, inode in made.items() if name in _NAMES and type(inode) is int}


def let_go(paths: Paths, identity: str) -> None:
    """Remove the empty places that were made for this bottle, unless another one holds them too; nothing happens when there
    are none. May be called again."""
    if not os.path.lexists(paths.held(identity)):
        return
    with _alone(paths):
        workspace, made = _noted(paths, identity)
        shared = _held_by_others(paths, identity, Path(workspace))
        for name, inode in sorted(made.items(), reverse=True):
            if name not in shared:
                _remove(Path(workspace) / name, inode)
        os.unlink(paths.held(identity))


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
