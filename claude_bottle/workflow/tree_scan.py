"""What changes in a tree that an agent writes to: looked at again and again, cheaply, and never through a link.

Names, sizes and times are compared, contents never read. Directories are entered by descriptor, so whatever is swapped in
along the way, nothing outside is looked at. A look pauses for a multiple of what it took, and stops at a bound: a tree that
is too large, or grows to be, costs no more than one that is not. What it took is told by the processor's clock: on a machine
with too much to do a moment's look takes seconds, and a multiple of those would be minutes in which nothing is told.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import NamedTuple

NEW, CHANGED, GONE = "new", "changed", "gone"
MAX_ENTRIES, MAX_DEPTH, MAX_TOLD = 20_000, 40, 50
# What tools make, not work: its changes would bury the others.
SKIPPED = frozenset({".git", "node_modules", "__pycache__", ".venv", ".mypy_cache", ".pytest_cache"})
_LEAST_PAUSE, _SHARE = 1.0, 20.0
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC

_Print = tuple[int, int, int]


class Seen(NamedTuple):
    """One file: `how` it is different, its name below the root (may hold anything), bytes now."""

    how: str
    name: str
    size: int


class TreeScan:
    """`partial`: there was more than is looked at, so what is gone or new may not be told. `pause`: seconds from the last
    look to the next."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._before: dict[str, _Print] | None = None
        self._not_before = 0.0
        self.partial = False
        self.pause = 0.0

    def changes(self) -> list[Seen]:
        """Since the last look; nothing for the first one, while it is not yet time for another, or without a tree."""
        if time.monotonic() < self._not_before:
            return []
        began = time.thread_time()
        was_partial, found = self.partial, self._look()
        self.pause = max(_LEAST_PAUSE, (time.thread_time() - began) * _SHARE)
        self._not_before = time.monotonic() + self.pause
        before, self._before = self._before, found
        return [] if before is None else _difference(before, found, self.partial or was_partial)

    def _look(self) -> dict[str, _Print]:
        self.partial = False
        found: dict[str, _Print] = {}
        try:
            root = os.open(self._root, _DIRECTORY)
        except OSError:
            return found
        try:
            self._walk(root, "", found, 0)
        finally:
            os.close(root)
        return found

    def _walk(self, directory: int, prefix: str, found: dict[str, _Print], depth: int) -> None:
        try:
            with os.scandir(directory) as entries:
                for entry in entries:
                    if len(found) >= MAX_ENTRIES:
                        self.partial = True
                        return
                    self._take(entry, directory, prefix, found, depth)
        except OSError:
            self.partial = True

    def _take(self, entry: os.DirEntry[str], directory: int, prefix: str, found: dict[str, _Print], depth: int) -> None:
        name = prefix + entry.name
        if not entry.is_dir(follow_symlinks=False):
            try:
                stat = entry.stat(follow_symlinks=False)
            except OSError:
                return
            found[name] = (stat.st_mtime_ns, stat.st_size, stat.st_ino)
        elif entry.name not in SKIPPED:
            if depth >= MAX_DEPTH:
                self.partial = True
                return
            try:
                below = os.open(entry.name, _DIRECTORY, dir_fd=directory)
            except OSError:
                return
            try:
                self._walk(below, f"{name}/", found, depth + 1)
            finally:
                os.close(below)


def _difference(before: dict[str, _Print], now: dict[str, _Print], partial: bool) -> list[Seen]:
    seen = [
        Seen(CHANGED if name in before else NEW, name, shape[1])
        for name, shape in now.items()
        if before.get(name) != shape and not (partial and name not in before)
    ]
    gone = [] if partial else [Seen(GONE, name, 0) for name in before if name not in now]
    return seen + gone
