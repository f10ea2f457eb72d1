"""Copies of what a bottle writes, taken while it may run, that share what did not change with the copy before.

A file counts as unchanged when it is the same inode with the same ctime as then: only the kernel sets that, and no program
can set it back. The clock of files is coarse, so what changed in the last moments before a copy is not relied on in the next
one. Shared files have two names and are never written again; whoever goes on from a copy copies it.
"""

from __future__ import annotations

import json
import os
import stat
import time
from pathlib import Path

from claude_bottle.backend import tree
from claude_bottle.errors import BottleError
from claude_bottle.state import files
from claude_bottle.state.beneath import open_up
from claude_bottle.state.layers import is_opaque, is_whiteout

# Well above the kernel's tick, by which files get their times.
_FRESH_NS = 50_000_000
_LIMIT = 1 << 30

Seen = dict[str, tuple[int, int]]


class Frozen(tree.Copy):
    """One copying; see `tree.Copy`. `before` is the former copy and `seen` what its files were then. `layer`: the source is a
    layer of an overlay, whose marks are kept."""

    def __init__(self, before: int | None, seen: Seen, *, layer: bool = False) -> None:
        super().__init__()
        self._before, self._seen, self._layer = before, seen, layer
        self._now = time.time_ns()
        self.noted: Seen = {}

    def one(self, source: int, target: int, name: str, path: str, depth: int = 0) -> None:
        if self._layer:
            found = _stat(name, source)
            if found is not None and is_whiteout(found):
                os.mknod(name, stat.S_IFCHR, os.makedev(0, 0), dir_fd=target)
                return
        super().one(source, target, name, path, depth)

    def _directory(self, source: int, target: int, name: str, path: str, depth: int) -> None:
        super()._directory(source, target, name, path, depth)
        if self._layer:
            with tree.opened_at(source, name) as inner:
                if is_opaque(inner):
                    with tree.opened_at(target, name) as outer:
                        os.setxattr(outer, "user.overlay.opaque", b"y")

    def _file(self, source: int, target: int, name: str, path: str) -> None:
        found = os.stat(name, dir_fd=source, follow_symlinks=False)
        mark = found.st_ino, found.st_ctime_ns
        if self._before is not None and self._seen.get(path) == mark and self._shared(target, name, path):
            self.noted[path] = mark
            return
        super()._file(source, target, name, path)
        if found.st_ctime_ns < self._now - _FRESH_NS:
            self.noted[path] = mark

    def _shared(self, target: int, name: str, path: str) -> bool:
        """Give a file of the former copy, which nobody else writes to, a second name."""
        try:
            os.link(path, name, src_dir_fd=self._before, dst_dir_fd=target, follow_symlinks=False)
        except OSError:
            return False
        return True


def freeze(source: Path, target: Path, before: Path | None = None, seen: Seen | None = None, *, layer: bool = False) -> Seen:
    """Copy the directory `source` to the new directory `target`; what its files were, for the next time. BottleError when
    not all of it could be copied."""
    found = os.stat(source)
    os.mkdir(target, 0o700)
    former = os.open(before, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC) if before and seen else None
    try:
        copy = Frozen(former, seen or {}, layer=layer)
        with tree.opened(source) as reading, tree.opened(target) as writing:
            copy.whole(reading, writing)
            os.fchmod(writing, stat.S_IMODE(found.st_mode) & 0o777 | 0o700)
    finally:
        if former is not None:
            os.close(former)
    copy.demand_all()
    return copy.noted


def thaw(frozen: Path, target: Path) -> None:
    """Put a copy of a frozen directory, sharing nothing with it, in the place of the directory `target`, in one step."""
    from claude_bottle.state.replacing import replace

    copy = tree.Copy()

    def fill(directory: int) -> None:
        with tree.opened(frozen) as reading:
            copy.whole(reading, directory)
        copy.demand_all()

    replace(target, fill)


def keep(place: Path, seen: dict[str, Seen]) -> None:
    """Note what the files of several copies were."""
    files.write_atomic(place, json.dumps(seen).encode())


def recall(place: Path) -> dict[str, Seen]:
    """What `keep` noted; empty where that cannot be read: everything is copied then."""
    try:
        said = files.read_json(place, _LIMIT)
        return {kind: {path: (int(mark[0]), int(mark[1])) for path, mark in marks.items()}
                for kind, marks in said.items() if isinstance(marks, dict)}  # fmt: skip
    except (OSError, BottleError, ValueError, TypeError, IndexError):
        return {}


def share(source: Path, target: Path) -> None:
    """Give every file of a frozen directory a second name in the new directory `target`: for another bottle that goes on
    from the same finished layer."""
    os.mkdir(target, 0o700)
    with tree.opened(source) as reading, tree.opened(target) as writing:
        _share(reading, writing, 0)


def _share(source: int, target: int, depth: int) -> None:
    if depth > tree.MAX_DEPTH:
        raise BottleError("a layer is too deep to be shared")
    for entry in os.scandir(source):
        if entry.is_dir(follow_symlinks=False):
            open_up(source, entry.name)  # an agent may have closed it even to its owner, which is us
            os.mkdir(entry.name, 0o700, dir_fd=target)
            with tree.opened_at(source, entry.name) as inner, tree.opened_at(target, entry.name) as outer:
                _share(inner, outer, depth + 1)
        else:
            os.link(entry.name, entry.name, src_dir_fd=source, dst_dir_fd=target, follow_symlinks=False)
    found = os.fstat(source)
    if is_opaque(source):
        os.setxattr(target, "user.overlay.opaque", b"y")
    os.fchmod(target, stat.S_IMODE(found.st_mode) & 0o777 | 0o700)
    os.utime(target, ns=(found.st_mtime_ns, found.st_mtime_ns))


def _stat(name: str, directory: int) -> os.stat_result | None:
    try:
        return os.stat(name, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        return None
