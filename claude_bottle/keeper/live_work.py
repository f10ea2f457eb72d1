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
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from claude_bottle.backend import namespaces as ns
from claude_bottle.backend import protected
from claude_bottle.backend.git_obeys import GIT, HOLDS
from claude_bottle.backend.protected import ABSENT_DIRECTORIES, ABSENT_FILES, PINNED, PRIVATE, Guard, Survey, survey
from claude_bottle.errors import BottleError
from claude_bottle.state import damage
from claude_bottle.state.files import ensure_private_dir, open_private, read_json, write_atomic
from claude_bottle.state.store import Store

if TYPE_CHECKING:
    from claude_bottle.state.paths import Paths

_LIMIT = 1 << 20
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_NAMES = (*ABSENT_DIRECTORIES, *ABSENT_FILES, f"{GIT}/hooks")


def guard(paths: Paths, identity: str, workspace: Path) -> tuple[Guard, ...]:
    """Everything to be guarded in `workspace`, with places made for what is missing, or held with another bottle."""
    with _alone(paths):
        found = survey(workspace)
        made = _hold(paths, identity, found)
    private = [name for name in made if name in _NAMES]
    guards = [Guard(name, PRIVATE, place) for name, place in _privates(paths, identity, private).items()]
    held = {path for path in (*found.held, *made) if path not in private and _above(path).isdisjoint(private)}
    guards += protected.guards(held, found.links)
    if f"{GIT}/hooks" in private and not any(one.path == GIT for one in guards):
        guards.append(Guard(GIT, PINNED))
    return protected.in_order(guards)


def _above(path: str) -> set[str]:
    return {str(parent) for parent in PurePosixPath(path).parents}


def _hold(paths: Paths, identity: str, found: Survey) -> dict[str, int]:
    """Make what is missing, but nothing in a place that was made; names with their inodes' numbers."""
    workspace = found.workspace
    shared = _held_by_others(paths, identity, workspace)
    absent: dict[str, bytes | None] = {name: b"" if name in ABSENT_FILES else None for name in _NAMES}
    missing = {name: content for name, content in (found.missing | absent).items()
               if name not in shared and _above(name).isdisjoint(shared) and _is_missing(workspace, name)}  # fmt: skip
    _note(paths, identity, workspace, {**shared, **dict.fromkeys(missing, 0)})  # a crash while they are made finds them
    try:
        inodes = {name: _make(workspace, name, content) for name, content in missing.items()}
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


def _make(workspace: Path, name: str, content: bytes | None) -> int:
    """A file, or an empty directory, its owner that of the directory it lies in; its inode's number, 0 where none can be
    made: then no agent can, which has no more rights than we have."""
    above, _, last = name.rpartition("/")
    try:
        with _beneath(workspace, above) as directory:
            if content is None:
                os.mkdir(last, 0o755, dir_fd=directory)
            else:
                with open(os.open(last, _NEW, 0o644, dir_fd=directory), "wb") as file:
                    file.write(content)
            if os.geteuid() == 0:
                about = os.stat(directory)
                os.chown(last, about.st_uid, about.st_gid, dir_fd=directory, follow_symlinks=False)
            return os.lstat(last, dir_fd=directory).st_ino
    except OSError as problem:
        if problem.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            return 0
        raise


@contextlib.contextmanager
def _beneath(workspace: Path, path: str) -> Iterator[int]:
    """A directory in the workspace, reached through no link."""
    top = os.open(workspace, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        opened = ns.open_beneath(path or ".", directory=top)
    finally:
        os.close(top)
    try:
        yield opened
    finally:
        os.close(opened)


def _privates(paths: Paths, identity: str, names: list[str]) -> dict[str, Path]:
    """What the bottle has in the place of each."""
    private = kept(paths, identity)
    if names:
        for directory in (private.parent, private):
            ensure_private_dir(directory)
    return {name: _private(private, name) for name in names}


def kept(paths: Paths, identity: str) -> Path:
    """Where what the agent writes to such places lies."""
    return paths.layers(identity) / "held"


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
    return workspace, {name: inode for name, inode in made.items() if _is_plain(name) and type(inode) is int}


def _is_plain(name: str) -> bool:
    return not {"", ".", ".."} & set(name.split("/"))


def made(paths: Paths, identity: str) -> frozenset[str]:
    """The places that are held for this bottle."""
    return frozenset(_noted(paths, identity)[1])


def left_inside(paths: Paths, identity: str) -> list[str]:
    """What the agent wrote into places of its own, and the directory has not: their names."""
    found = []
    for name in _NAMES:
        place = kept(paths, identity) / name.replace("/", "-").lstrip(".")
        with contextlib.suppress(OSError):
            about = os.lstat(place)
            if (about.st_size and stat.S_ISREG(about.st_mode)) or (stat.S_ISDIR(about.st_mode) and os.listdir(place)):
                found.append(name)
    return found


def to_tell(paths: Paths, identity: str) -> tuple[dict[str, object], list[str]]:
    """What would run on the host and was changed in a live workspace: for the journal, and a line for each trigger; nothing
    once it was `told`."""
    place = paths.live(identity)
    if not os.path.lexists(place):
        return {}, []
    from claude_bottle.keeper import live_changes

    note = live_changes.load(place)
    found = live_changes.changed(note) if note else {}
    return live_changes.for_journal(found), live_changes.describe(found)


def told(paths: Paths, identity: str) -> None:
    """It is in the journal now, where there was any."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(paths.live(identity))


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
                _remove(Path(workspace), name, inode)
        os.unlink(paths.held(identity))


def _remove(workspace: Path, name: str, inode: int) -> None:
    above, _, last = name.rpartition("/")
    try:
        with _beneath(workspace, above) as directory:
            about = os.lstat(last, dir_fd=directory)
            if inode not in (0, about.st_ino):
                return
            if stat.S_ISDIR(about.st_mode):
                os.rmdir(last, dir_fd=directory)
            elif stat.S_ISREG(about.st_mode) and _is_ours(last, directory):
                os.unlink(last, dir_fd=directory)
    except OSError:
        pass  # gone, or no longer empty: then it is somebody's


def _is_ours(name: str, directory: int) -> bool:
    """Whether a file holds nothing but what held its place."""
    with open(os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=directory), "rb") as file:
        return file.read(_LIMIT) in (b"", HOLDS["commondir"])
