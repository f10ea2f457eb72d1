"""Writes beneath directories of this host what `packing` says of a bottle's volumes.

The stream is hostile: whatever runs on an engine elsewhere, or chose the names in it, may have written any of it. So it is
read strictly, bounded in number, depth and bytes, and a frame that is damaged, out of turn or missing ends the whole. Names
are single ones, made in a directory that is held open and was made by us, and never through a link; only regular files,
directories and links as such are made, owned by us, without set-id bits. What a file is said to measure takes no room.
"""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable
from functools import partial
from typing import IO

from claude_bottle.backend.docker.packing import (
    DATA,
    DRESS,
    END,
    ENTER,
    FILE,
    HEAD,
    LEAVE,
    LENGTH,
    LINK,
    MAX_DEPTH,
    MAX_NOTES,
    NOTE,
    NUMBER,
    PIECE,
    TREE,
    WHOLE,
)
from claude_bottle.errors import BottleError

MAX_ENTRIES, MAX_BYTES = 2_000_000, 64 << 30
_MAX_FRAME, _SPAN = PIECE + 8192, 1 << 16
_ZEROS = bytes(_SPAN)
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class Cut(BottleError):
    """The stream ends in the middle: whoever writes it may have said why."""


class Unpacking:
    """One stream of several trees. Afterwards `notes` says what was left out, one line each."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream, self._entries, self._size = stream, 0, 0
        self.notes: list[str] = []

    def tree(self, directory: int) -> None:
        """The next tree, into this directory, which is empty. BottleError when it is refused or cannot be written."""
        if self._frame()[0] != TREE:
            raise refused("a tree is missing")
        levels: list[tuple[int, int, int]] = [(os.dup(directory), 0, 0)]
        try:
            while levels:
                self._step(levels)
        except OSError as failure:
            if failure.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS):
                raise BottleError("cannot write a bottle's files", why=os.strerror(failure.errno)) from failure
            raise refused(str(failure)) from failure
        finally:
            for held, _, _ in levels:
                os.close(held)

    def end(self) -> None:
        """BottleError unless all of it has been said."""
        if self._frame()[0] != WHOLE:
            raise refused("it goes on beyond its end")

    def _step(self, levels: list[tuple[int, int, int]]) -> None:
        """One frame, in the innermost directory."""
        kind, said = self._frame()
        held, mode, changed = levels[-1]
        if kind == LEAVE and not said:
            if len(levels) > 1:
                _dress(held, mode | 0o700, changed)
            os.close(levels.pop()[0])
        elif kind == NOTE:
            if len(self.notes) < MAX_NOTES:
                self.notes.append(os.fsdecode(said))
        elif kind == ENTER:
            self._count()
            mode, changed = _dressed(said)
            name = _name(said[DRESS.size :])
            if len(levels) > MAX_DEPTH:
                raise refused("it is too deep")
            os.mkdir(name, 0o700, dir_fd=held)
            levels.append((os.open(name, _DIRECTORY, dir_fd=held), mode, changed))
        elif kind == LINK:
            self._count()
            (length,) = LENGTH.unpack_from(said) if len(said) > LENGTH.size else (0,)
            name, text = said[LENGTH.size : LENGTH.size + length], said[LENGTH.size + length :]
            if not text or b"\0" in text:
                raise refused("a link in it is damaged")
            os.symlink(text, _name(name), dir_fd=held)
        elif kind == FILE:
            self._count()
            self._file(held, said)
        else:
            raise refused("it is out of turn")

    def _file(self, held: int, said: bytes) -> None:
        mode, changed = _dressed(said)
        if len(said) < DRESS.size + NUMBER.size:
            raise refused("a file in it is damaged")
        (size,) = NUMBER.unpack_from(said, DRESS.size)
        name = _name(said[DRESS.size + NUMBER.size :])
        writing = os.open(name, _NEW, 0o600, dir_fd=held)
        try:
            least, fits = 0, True
            while (frame := self._frame())[0] == DATA:
                at, piece = self._data(frame[1], least, size)
                least = at + len(piece)
                fits = fits and _takes(partial(_put, writing, piece, at))
            if frame[0] != END:
                raise refused("a file in it does not end")
            if not fits or not _takes(partial(os.ftruncate, writing, size)):
                os.unlink(name, dir_fd=held)
                self.notes.append(f"{os.fsdecode(name)}: too large for the file system here")
                return
            _dress(writing, mode | 0o600, changed)
        finally:
            os.close(writing)

    def _data(self, said: bytes, least: int, size: int) -> tuple[int, memoryview]:
        """Where a piece of a file lies, which comes after the one before; and the piece."""
        if len(said) <= NUMBER.size:
            raise refused("a file in it is damaged")
        (at,) = NUMBER.unpack_from(said)
        piece = memoryview(said)[NUMBER.size :]
        self._size += len(piece)
        if not least <= at <= at + len(piece) <= size or self._size > MAX_BYTES:
            raise refused("it is too large")
        return int(at), piece

    def _count(self) -> None:
        self._entries += 1
        if self._entries > MAX_ENTRIES:
            raise refused("it is too many files")

    def _frame(self) -> tuple[bytes, bytes]:
        kind, size = HEAD.unpack(self._exactly(HEAD.size))
        if size > _MAX_FRAME:
            raise refused("a piece of it is too large")
        return kind, self._exactly(size)

    def _exactly(self, size: int) -> bytes:
        data = self._stream.read(size) if size else b""
        if len(data) != size:
            raise Cut("what came out of the container is refused", why="it ends in the middle")
        return data


def refused(why: str) -> BottleError:
    return BottleError("what came out of the container is refused", why=why)


def _put(writing: int, piece: memoryview, at: int) -> None:
    """Zeros stay a hole."""
    for offset in range(0, len(piece), _SPAN):
        left, place = piece[offset : offset + _SPAN], at + offset
        if left == _ZEROS[: len(left)]:
            continue
        while left:
            written = os.pwrite(writing, left, place)
            left, place = left[written:], place + written


def _takes(act: Callable[[], None]) -> bool:
    """Whether this file system knows files as large as `act` makes one."""
    try:
        act()
    except OverflowError:
        return False
    except OSError as failure:
        if failure.errno not in (errno.EFBIG, errno.EINVAL):
            raise
        return False
    return True


def _dressed(said: bytes) -> tuple[int, int]:
    if len(said) < DRESS.size:
        raise refused("a piece of it is damaged")
    mode, changed = DRESS.unpack_from(said)
    return mode & 0o777, min(changed, time.time_ns())


def _dress(fd: int, mode: int, changed: int) -> None:
    os.fchmod(fd, mode)
    os.utime(fd, ns=(changed, changed))


def _name(name: bytes) -> bytes:
    if not name or name in (b".", b"..") or b"/" in name or b"\0" in name:
        raise refused(f"the name {name[:200]!r}")
    return name
