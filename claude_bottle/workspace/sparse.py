"""What a file really holds. One of an agent's may measure terabytes and hold nothing: holes are passed over, and stay holes
where it is copied.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator

# Of real data, and how much larger a file may measure than that.
MAX_DATA, MAX_SIZE = 8 << 30, 512 << 30
_READ, _BLOCK = 1 << 20, 1 << 16
_ZEROS = bytes(_BLOCK)


def data(fd: int) -> Iterator[tuple[int, bytes]]:
    """(offset, block) of all that is not zero, in order, in blocks of one size at multiples of it; no further than the size
    the file has now. The same for the same content, however it lies on the disk. OSError (EFBIG) for more than the limits."""
    size, at, held = os.fstat(fd).st_size, 0, 0
    if size > MAX_SIZE:
        raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))
    while at < size:
        try:
            at = max(at, os.lseek(fd, at, os.SEEK_DATA) // _BLOCK * _BLOCK)
            end = min(-(-os.lseek(fd, max(at, os.lseek(fd, at, os.SEEK_DATA)), os.SEEK_HOLE) // _BLOCK) * _BLOCK, size)
        except OSError as problem:
            if problem.errno == errno.ENXIO:
                return  # a hole up to the end
            raise
        while at < end:
            piece = os.pread(fd, min(_READ, end - at), at)
            if not piece:
                return
            for start in range(0, len(piece), _BLOCK):
                block = piece[start : start + _BLOCK]
                if block != _ZEROS[: len(block)]:
                    held += len(block)
                    if held > MAX_DATA:
                        raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))
                    yield at + start, block
            at += len(piece)


def copy(reading: int, writing: int) -> int:
    """Copy a file into an empty one; how many bytes were written. OSError as it comes."""
    size, written = os.fstat(reading).st_size, 0
    for at, block in data(reading):
        written += len(block)
        while block:
            done = os.pwrite(writing, block, at)
            at, block = at + done, block[done:]
    os.ftruncate(writing, size)
    return written


def digest(fd: int) -> bytes:
    """Of the content, by what it holds."""
    import hashlib

    found = hashlib.sha256(b"%d" % os.fstat(fd).st_size)
    for at, block in data(fd):
        found.update(b"%d:" % at)
        found.update(block)
    return found.digest()
