"""A directory of this host as a `Tree`: held by a descriptor, entered component by component, no link followed.

One of the two may be an agent's, changing while we look: whatever is swapped, nothing outside is opened, nothing is waited
for (a fifo, a device) and nothing read beyond its size.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from claude_bottle.errors import BottleError
from claude_bottle.state.beneath import open_beneath, open_up, plain_parts
from claude_bottle.workspace import work
from claude_bottle.workspace.work import KEEP, MAX_DEPTH, PRUNE, Entry, Skip, Tree, entry_of

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
CHUNK = 1 << 20


class Directory(Tree):
    """`place`: where it is, or a descriptor of it, which stays the caller's. `ours`: whoever wrote it is a bottle, so what it
    closed to itself is opened up."""

    def __init__(self, place: Path | int, *, ours: bool = False) -> None:
        try:
            if isinstance(place, int):
                self.fd = os.dup(place)
            else:
                if ours:
                    _open_top(place)
                self.fd = os.open(place, _DIRECTORY)
        except OSError as problem:
            raise BottleError(f"cannot look into {place}", why=problem.strerror or str(problem)) from problem
        self._ours, self.notes = ours, []
        self._held: tuple[str, int] = ("", os.dup(self.fd))

    def close(self) -> None:
        os.close(self.fd)
        os.close(self._held[1])

    def __enter__(self) -> Directory:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def stat(self, path: str) -> os.stat_result | None:
        """As lstat, through no link on the way."""
        try:
            parent, name = self._parent(path)
            return os.stat(name, dir_fd=parent, follow_symlinks=False)
        except OSError:
            return None

    def entry(self, path: str) -> Entry | None:
        found = self.stat(path)
        if found is None:
            return None
        if not stat.S_ISLNK(found.st_mode):
            return entry_of(found)
        try:
            parent, name = self._parent(path)
            return entry_of(found, os.readlink(name, dir_fd=parent))
        except OSError:
            return None

    def names(self, path: str) -> list[str]:
        try:
            directory = self._open(path, _DIRECTORY) if path else os.dup(self.fd)
        except FileNotFoundError:
            return []
        except OSError as problem:
            self.notes.append(f"{path}: {problem.strerror}")
            return []
        try:
            return sorted(os.listdir(directory))
        finally:
            os.close(directory)

    def walk(self, skip: Skip) -> Iterator[tuple[str, Entry]]:
        for path, entry, _ in self.walk_stats(skip):
            yield path, entry

    def walk_stats(self, skip: Skip) -> Iterator[tuple[str, Entry, os.stat_result]]:
        """As `walk`, with what lstat said."""
        stack, count = [""], 0
        while stack:
            below = stack.pop()
            deeper = []
            for name, found, link in self._scan(below):
                path = f"{below}/{name}" if below else name
                count += 1
                if count > work.MAX_ENTRIES:
                    self.notes.append(f"more than {work.MAX_ENTRIES} files: the rest was not looked at")
                    return
                is_directory = stat.S_ISDIR(found.st_mode)
                verdict = skip(path, is_directory)
                if verdict == PRUNE:
                    continue
                if verdict == KEEP:
                    yield path, entry_of(found, link), found
                if is_directory and path.count("/") >= MAX_DEPTH:
                    self.notes.append(f"{path}: too deep")
                elif is_directory:
                    deeper.append(path)
            stack.extend(reversed(deeper))

    def _scan(self, path: str) -> list[tuple[str, os.stat_result, str]]:
        """What a directory holds, sorted by name: lstat, and where links lead. What has gone meanwhile is passed over."""
        try:
            directory = self._open(path, _DIRECTORY) if path else os.open(".", _DIRECTORY, dir_fd=self.fd)
        except FileNotFoundError:
            return []
        except OSError as problem:
            self.notes.append(f"{path}: {problem.strerror}")
            return []
        found = []
        try:
            with os.scandir(directory) as entries:
                for entry in entries:
                    try:
                        about = entry.stat(follow_symlinks=False)
                        link = os.readlink(entry.name, dir_fd=directory) if stat.S_ISLNK(about.st_mode) else ""
                    except OSError:
                        continue
                    found.append((entry.name, about, link))
        finally:
            os.close(directory)
        return sorted(found, key=lambda one: one[0])

    def open(self, path: str) -> int:
        fd = self._open(path, _FILE)
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            os.close(fd)
            raise OSError(f"{path} is not a regular file")
        return fd

    def _open(self, path: str, flags: int) -> int:
        parent, name = self._parent(path)
        try:
            return os.open(name, flags, dir_fd=parent)
        except PermissionError:
            if not self._ours:
                raise
            open_up(parent, name)
            return os.open(name, flags, dir_fd=parent)

    def _parent(self, path: str) -> tuple[int, str]:
        """The directory that holds `path`, and its name in there. The last one is kept: what follows is mostly there."""
        parent, _, name = path.rpartition("/")
        if name in ("", ".", ".."):
            raise OSError(f"not a plain path: {path!r}")
        if parent != self._held[0]:
            fd = self._reach(parent)
            os.close(self._held[1])
            self._held = parent, fd
        return self._held[1], name

    def _reach(self, parent: str) -> int:
        if not parent:
            return os.dup(self.fd)
        try:
            return open_beneath(self.fd, parent, os.O_PATH | os.O_DIRECTORY)
        except PermissionError:
            if not self._ours:
                raise
            parts = plain_parts(parent)
            for depth in range(1, len(parts) + 1):
                open_up(self.fd, "/".join(parts[:depth]))
            return open_beneath(self.fd, parent, os.O_PATH | os.O_DIRECTORY)
        except ValueError as problem:
            raise OSError(str(problem)) from problem


def _open_top(path: Path) -> None:
    """What an agent has closed to itself is closed to us, who own it, too."""
    parent = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        open_up(parent, path.name)
    except PermissionError:
        pass  # another's: judged by opening it
    finally:
        os.close(parent)


@contextmanager
def opened(tree: Tree, path: str) -> Iterator[int]:
    fd = tree.open(path)
    try:
        yield fd
    finally:
        os.close(fd)


def pieces(fd: int, limit: int) -> Iterator[bytes]:
    """What a file holds, no further than the size it has now (it may grow as fast as it is read). OSError (EFBIG) when that
    is more than `limit`."""
    left = os.fstat(fd).st_size
    if left > limit:
        raise OSError(errno.EFBIG, "too large")
    while left and (piece := os.read(fd, min(left, CHUNK))):
        left -= len(piece)
        yield piece


def content(tree: Tree, path: str, limit: int) -> bytes:
    """The whole of a file. OSError when it cannot be had, or is longer than `limit`."""
    with opened(tree, path) as fd:
        return b"".join(pieces(fd, limit))


def same_bytes(one: int, other: int) -> bool:
    """Whether two open files hold the same from where they stand."""
    while (piece := os.read(one, CHUNK)) == os.read(other, CHUNK):
        if not piece:
            return True
    return False
