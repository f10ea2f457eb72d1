"""Copies a directory tree from one descriptor to another: into a bottle's fresh volume, and out of a hostile one.

Everything is opened beneath the two descriptors, one component at a time and no link followed, so whatever the agent
swaps meanwhile, nothing outside of either is read or written. Regular files, directories and links as such are copied,
bounded in number, depth and bytes; a file appears whole under its name or not at all. Owners, set-id bits, attributes
and times of the future are left behind.
"""

from __future__ import annotations

import errno
import os
import stat
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from claude_bottle.backend.pouring import Pouring
from claude_bottle.errors import BottleError
from claude_bottle.state import ignore

MAX_ENTRIES, MAX_DEPTH, MAX_BYTES = 2_000_000, 128, 64 << 30
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_NAMED, _SHOWN = 100, 5


@contextmanager
def opened(directory: Path) -> Iterator[int]:
    """A descriptor of a directory that is no link."""
    fd = os.open(directory, _DIRECTORY)
    try:
        yield fd
    finally:
        os.close(fd)


@contextmanager
def opened_at(directory: int, name: str) -> Iterator[int]:
    """The same for one in an open directory."""
    fd = os.open(name, _DIRECTORY, dir_fd=directory)
    try:
        yield fd
    finally:
        os.close(fd)


def copy_into(source: Path, target: Path, owner: tuple[int, int] | None = None) -> None:
    """What is in the directory `source`, without what its `.dockerignore` leaves out, into the empty directory
    `target`. BottleError when not all of it could be copied."""
    copy = Copy(owner=owner, ignored=ignore.read(str(source)))
    with opened(source) as reading, opened(target) as writing:
        copy.whole(reading, writing)
    copy.demand_all()


def left_out(notes: Sequence[str]) -> str:
    """What a copying left out, in one line."""
    more = f" and {len(notes) - _SHOWN} more" if len(notes) > _SHOWN else ""
    return f"left out of what the bottle wrote: {'; '.join(notes[:_SHOWN])}{more}"


class Copy:
    """One copying. `owner` (uid and gid; for root) gets all of it. `fresh`: the target is empty; else what is there is
    replaced name by name, and kept where it is the same. `without`: relative paths that are left out; `ignored`: the rules
    of a `.dockerignore`; `most`: bytes.

    Afterwards `skipped` counts what is neither file, directory nor link; `missed` what could not be copied, `deep` what of
    that is only too deep.
    """

    def __init__(
        self, *, owner: tuple[int, int] | None = None, fresh: bool = True, without: frozenset[str] = frozenset(),
        ignored: ignore.Ignored | None = None, most: int | None = None,
    ) -> None:  # fmt: skip
        self._owner, self._fresh, self._without, self._ignored = owner, fresh, without, ignored
        self.entries = self.skipped = self.missed = self.deep = 0
        self._too_deep: list[str] = []
        self._reason, self._pouring = "", Pouring(MAX_BYTES if most is None else most)

    @property
    def size(self) -> int:
        """How many bytes were written."""
        return self._pouring.size

    def whole(self, source: int, target: int, path: str = "", depth: int = 0) -> None:
        """Copy what is in the directory `source` into the directory `target`. BottleError when the target is full."""
        if depth > MAX_DEPTH:
            self.deep += 1
            if len(self._too_deep) < _NAMED:
                self._too_deep.append(f"{path[-200:]}: too deep")
            self._miss(path, "too deep")
            return
        with os.scandir(source) as entries:
            for entry in entries:
                self.entries += 1
                if self.entries > MAX_ENTRIES:
                    self._miss(path, "too many files")
                    return
                self.one(source, target, entry.name, f"{path}/{entry.name}" if path else entry.name, depth)

    def one(self, source: int, target: int, name: str, path: str, depth: int = 0) -> None:
        """Copy the entry `name`. `path` is what it is called in messages and in `without`."""
        if path in self._without:
            return
        try:
            found = os.stat(name, dir_fd=source, follow_symlinks=False)
            if self._ignores(path, found):
                return
            if stat.S_ISLNK(found.st_mode):
                self._link(source, target, name)
            elif stat.S_ISDIR(found.st_mode):
                self._directory(source, target, name, path, depth)
            elif stat.S_ISREG(found.st_mode):
                self._file(source, target, name, path)
            else:
                self.skipped += 1
        except FileNotFoundError:
            pass  # it has gone meanwhile
        except OSError as failure:
            if failure.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS):
                raise BottleError("cannot copy a bottle's files", why=os.strerror(failure.errno)) from failure
            self._miss(path, failure.strerror or str(failure))

    def _ignores(self, path: str, found: os.stat_result) -> bool:
        """An ignored directory is entered all the same where something below it may be wanted."""
        if self._ignored is None:
            return False
        return self._ignored.prunes(path) if stat.S_ISDIR(found.st_mode) else self._ignored.ignores(path)

    def left_out(self) -> list[str]:
        """What was too deep, one line each."""
        return list(self._too_deep)

    def demand_all(self, but: int = 0) -> None:
        """BottleError if something was missed, or more than these."""
        if self.missed > but:
            raise BottleError("not everything could be copied", why=f"{self.missed} missing; {self._reason}")

    def pour(self, reading: int, target: int, name: str) -> None:
        """Copy one open file to `name` in the target."""
        self._write(reading, os.fstat(reading), target, name)

    def clear(self, target: int, name: str) -> None:
        """Remove what the target has under `name`, if anything."""
        self._clear(target, name, 0)

    def _miss(self, path: str, why: str) -> None:
        self.missed += 1
        self._reason = self._reason or f"{path or 'the whole'}: {why}"

    def _link(self, source: int, target: int, name: str) -> None:
        text = os.readlink(name, dir_fd=source)
        self._clear(target, name, 0)
        os.symlink(text, name, dir_fd=target)
        if self._owner:
            os.chown(name, *self._owner, dir_fd=target, follow_symlinks=False)

    def _directory(self, source: int, target: int, name: str, path: str, depth: int) -> None:
        inner = _open(source, name, _DIRECTORY)
        try:
            self._clear(target, name, stat.S_IFDIR)
            try:
                os.mkdir(name, 0o700, dir_fd=target)
            except FileExistsError:
                pass  # opened without following a link, whatever it is
            outer = os.open(name, _DIRECTORY, dir_fd=target)
            try:
                self.whole(inner, outer, path, depth + 1)
                self.dress(outer, os.fstat(inner), 0o700)
            finally:
                os.close(outer)
        finally:
            os.close(inner)

    def _file(self, source: int, target: int, name: str, path: str) -> None:
        reading = _open(source, name, _FILE)
        try:
            found = os.fstat(reading)
            if not stat.S_ISREG(found.st_mode):
                self.skipped += 1
            elif self._fresh or not _same(target, name, found):
                self._write(reading, found, target, name)
        finally:
            os.close(reading)

    def _write(self, reading: int, found: os.stat_result, target: int, name: str) -> None:
        """Into a fresh target under its own name; else under another, and renamed when it is whole."""
        own = name if self._fresh else f".claude-bottle-{os.urandom(8).hex()}"
        writing = os.open(own, _NEW, 0o600, dir_fd=target)
        try:
            self._pouring.pour(reading, writing, found.st_size)
            self.dress(writing, found, 0o600)
            if not self._fresh:
                self._clear(target, name, stat.S_IFREG)
                os.rename(own, name, src_dir_fd=target, dst_dir_fd=target)
        except BaseException:
            os.unlink(own, dir_fd=target)
            raise
        finally:
            os.close(writing)

    def dress(self, fd: int, found: os.stat_result, least: int) -> None:
        """Owner, then mode (never a set-id or sticky bit, always usable for its owner), then the time, if it has come."""
        if self._owner:
            os.fchown(fd, *self._owner)
        os.fchmod(fd, (found.st_mode & 0o777) | least)
        changed = min(found.st_mtime_ns, time.time_ns())
        os.utime(fd, ns=(changed, changed))

    def _clear(self, target: int, name: str, but: int) -> None:
        """Remove what stands in the way, unless it is of the kind `but`."""
        if self._fresh:
            return
        try:
            kind = stat.S_IFMT(os.stat(name, dir_fd=target, follow_symlinks=False).st_mode)
        except FileNotFoundError:
            return
        if kind == stat.S_IFDIR and but != stat.S_IFDIR:
            import shutil

            shutil.rmtree(name, dir_fd=target)
        elif kind != but:
            os.unlink(name, dir_fd=target)


def _open(directory: int, name: str, flags: int) -> int:
    """Open an entry; one that its owner has closed to itself too, which matters where we are that owner."""
    try:
        return os.open(name, flags, dir_fd=directory)
    except PermissionError:
        held = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)
        try:
            mode = os.fstat(held).st_mode
            if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
                raise
            os.chmod(f"/proc/self/fd/{held}", mode & 0o777 | (0o700 if stat.S_ISDIR(mode) else 0o600))
        finally:
            os.close(held)
        return os.open(name, flags, dir_fd=directory)


def _same(target: int, name: str, found: os.stat_result) -> bool:
    """Whether the target has this very file already, by type, mode, size and time."""
    try:
        there = os.stat(name, dir_fd=target, follow_symlinks=False)
    except FileNotFoundError:
        return False
    mode = stat.S_IFREG | found.st_mode & 0o777 | 0o600
    return (there.st_mode, there.st_size, there.st_mtime_ns) == (mode, found.st_size, found.st_mtime_ns)
