"""Copies what the bottle made into a fresh directory: regular files, directories, and links that stay inside.

The directory is new and ours (0700, files 0600 or 0700), everything is made under open descriptors with names that must not
be taken yet, so twins of case overwrite nothing on a file system that knows none, and links are never followed. Bounded in
number, depth and bytes; what is left out is said.
"""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Iterable
from pathlib import Path

from claude_bottle.errors import BottleError
from claude_bottle.state.beneath import make_dirs_beneath
from claude_bottle.workspace import sparse
from claude_bottle.workspace.directory import opened
from claude_bottle.workspace.triggers import leads
from claude_bottle.workspace.work import DIRECTORY, FILE, LINK, OTHER, Entry, Tree

MAX_ALL = 64 << 30
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class Export:
    """One copying. `copied` counts files and links, `size` their bytes; `notes` says what was left out, and why.
    `links_out`: links that lead out of the tree, too."""

    def __init__(self, tree: Tree, *, links_out: bool = False) -> None:
        self._tree, self._links_out = tree, links_out
        self.copied = self.size = 0
        self.notes: list[str] = []
        self.left: set[str] = set()

    def run(self, entries: Iterable[tuple[str, Entry]], target: int) -> None:
        """Copy these, a directory before its content, into the empty open directory `target`. BottleError when that is
        full or cannot be written."""
        for path, entry in entries:
            try:
                self._one(path, entry, target)
            except OSError as problem:
                if problem.errno in (errno.ENOSPC, errno.EROFS, errno.EDQUOT):
                    raise BottleError("cannot export", why=os.strerror(problem.errno)) from problem
                self._leave(path, os.strerror(problem.errno) if problem.errno else str(problem))

    def _one(self, path: str, entry: Entry, target: int) -> None:
        if entry.kind == OTHER:
            self._leave(path, "neither file, directory nor link")
            return
        if entry.kind == DIRECTORY:
            os.close(make_dirs_beneath(target, path))
            return
        parent, _, name = path.rpartition("/")
        place = make_dirs_beneath(target, parent)
        try:
            if entry.kind == LINK and not self._links_out and (why := leads(path, entry.link)):
                self._leave(path, why)
                return
            if entry.kind == LINK:
                os.symlink(entry.link, name, dir_fd=place)
            elif entry.kind == FILE:
                self._file(path, name, place, 0o700 if entry.executable else 0o600)
            self.copied += 1
        finally:
            os.close(place)

    def _file(self, path: str, name: str, place: int, mode: int) -> None:
        with opened(self._tree, path) as reading:
            found = os.fstat(reading)
            if self.size + found.st_blocks * 512 > MAX_ALL:
                raise OSError(errno.EFBIG, "too much for one export")
            writing = os.open(name, _NEW, 0o600, dir_fd=place)
            try:
                self.size += sparse.copy(reading, writing)
                os.fchmod(writing, mode)
                changed = min(found.st_mtime_ns, time.time_ns())
                os.utime(writing, ns=(changed, changed))
            except BaseException:
                os.unlink(name, dir_fd=place)
                raise
            finally:
                os.close(writing)

    def _leave(self, path: str, why: str) -> None:
        self.left.add(path)
        if len(self.notes) < 100:
            self.notes.append(f"{path}: {why}")


def fresh_directory(path: Path) -> int:
    """Make `path`, which must not exist, and open it. BottleError when it cannot be."""
    try:
        os.mkdir(path, 0o700)
        return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileExistsError as problem:
        raise BottleError(f"{path} is there already", why="an export goes into a directory of its own",
                          do="name one that does not exist") from problem  # fmt: skip
    except OSError as problem:
        raise BottleError(f"cannot make {path}", why=problem.strerror or str(problem)) from problem
