"""How much a bottle may write: when its home and its private work hold more, it is stopped as by its operator, and kept.

No file system here has quotas that an ordinary user may set, so the keeper looks. Looking at every file is dear and asking
how much of the file system is free costs nothing, and nothing can have grown by more than that has shrunk: so files are
looked at only when they may have become too many, in a thread beside the loop. Not seen is what was deleted and is held open.
"""

from __future__ import annotations

import os
import stat
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from claude_bottle.keeper.loop import Loop, Timer

LOOK_SECONDS = 1.0
# What a file takes beside its bytes: there is an end to files without any, too.
ENTRY = 4096
_DEEPEST = 256


class DiskSpace:
    """`most`: bytes that the places may hold together; `full` is called once."""

    def __init__(self, loop: Loop, most: int, places: tuple[Path, ...], full: Callable[[], None]) -> None:
        self._loop, self._most, self._places, self._full = loop, most, places, full
        self._free = 0
        """How much was free when the files were looked at last."""
        self._held: int | None = None
        self._counting: threading.Thread | None = None
        self._over = False
        self._timer: Timer = loop.later(0, self._look)

    def cancel(self) -> None:
        self._over = True
        self._timer.cancel()

    def _look(self) -> None:
        if self._over:
            return
        if self._counting is None and (self._held is None or self._held + self._free - _free(self._places) >= self._most):
            self._free = _free(self._places)
            self._counting = threading.Thread(target=self._count, daemon=True)
            self._counting.start()
        elif self._counting is not None and not self._counting.is_alive():
            self._counting = None
            if self._held is not None and self._held > self._most:
                self._over = True
                self._full()
                return
        self._timer = self._loop.later(LOOK_SECONDS, self._look)

    def _count(self) -> None:
        self._held = held(self._places, beyond=self._most)


def _free(places: Iterable[Path]) -> int:
    """Of all file systems that they are on. What is not there is on none."""
    found: dict[int, int] = {}
    for place in places:
        try:
            found[os.stat(place).st_dev] = (at := os.statvfs(place)).f_bfree * at.f_frsize
        except OSError:
            continue
    return sum(found.values())


def held(places: Iterable[Path], beyond: int) -> int:
    """Bytes that the files there take; counting ends above `beyond`. No link is followed, a file with several names counts
    once, and what changes meanwhile is counted or not."""
    seen: set[tuple[int, int]] = set()
    total = 0
    for place in places:
        try:
            fd = os.open(place, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError:
            continue
        total = _add(fd, total, beyond, seen, 0)
    return total


def _add(directory: int, total: int, beyond: int, seen: set[tuple[int, int]], depth: int) -> int:
    below = []
    try:
        with os.scandir(directory) as entries:
            for entry in entries:
                if total > beyond:
                    break
                try:
                    found = entry.stat(follow_symlinks=False)
                    if entry.is_dir(follow_symlinks=False):
                        below.append(entry.name)
                except OSError:
                    continue
                if found.st_nlink > 1 and not entry.is_dir(follow_symlinks=False):
                    if (found.st_dev, found.st_ino) in seen:
                        continue
                    seen.add((found.st_dev, found.st_ino))
                total += max(found.st_blocks * 512, ENTRY)
        for name in below if depth < _DEEPEST else ():
            if total > beyond:
                break
            try:
                fd = _open(directory, name)
            except OSError:
                continue
            total = _add(fd, total, beyond, seen, depth + 1)
    except OSError:
        pass
    finally:
        os.close(directory)
    return total


def _open(directory: int, name: str) -> int:
    """A directory to look into. What an agent has closed to its owner is open for that moment, and then as before."""
    flags = os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        return os.open(name, os.O_RDONLY | flags, dir_fd=directory)
    except PermissionError:
        look = os.open(name, os.O_PATH | flags, dir_fd=directory)
        here = f"/proc/self/fd/{look}"  # fchmod(2) refuses O_PATH; the magic link leads to this very inode
        mode = stat.S_IMODE(os.fstat(look).st_mode)
        try:
            os.chmod(here, mode | 0o500)
            return os.open(here, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        finally:
            os.chmod(here, mode)
            os.close(look)
