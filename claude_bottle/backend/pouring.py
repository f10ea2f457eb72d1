"""The bytes of one open file into another: as a copy that the file system makes when one of both is written, where it can
(btrfs, xfs), else piece by piece, holes as holes."""

from __future__ import annotations

import errno
import fcntl
import os

_CHUNK, _FICLONE = 1 << 20, 0x40049409  # ioctl_ficlone(2)


class Pouring:
    """All of one copying. `limit`: how many bytes may be written for it, `size`: how many were so far."""

    def __init__(self, limit: int) -> None:
        self.size, self._limit, self._clones = 0, limit, True

    def _cloned(self, reading: int, writing: int, size: int) -> bool:
        """Whether the file system could give the file the same blocks, to be copied when one of both is written."""
        if self._clones and 0 < size <= self._limit:
            try:
                fcntl.ioctl(writing, _FICLONE, reading)
                os.ftruncate(writing, min(size, os.fstat(writing).st_size))
                return True
            except OSError:
                self._clones = False  # not here, or not from there
        return False

    def pour(self, reading: int, writing: int, size: int) -> None:
        """The first `size` bytes, holes as holes: an image of a disk holds little of what it measures, and a hostile one
        nothing. Only what is written counts. OSError (EFBIG) when all together is too much."""
        if self._cloned(reading, writing, size):
            return
        dense = os.fstat(reading).st_blocks * 512 >= size  # then it has no holes to look for
        at, end = 0, size if dense else 0
        while at < size:
            if at >= end:
                try:
                    at = os.lseek(reading, at, os.SEEK_DATA)
                    end = min(os.lseek(reading, at, os.SEEK_HOLE), size)
                except OSError as failure:
                    if failure.errno != errno.ENXIO:
                        raise
                    at = end = size  # a hole up to its end, which may have come nearer meanwhile
                if at >= end:
                    break
            piece = os.pread(reading, min(end - at, _CHUNK), at)
            self.size += len(piece)
            if not piece:
                break
            if self.size > self._limit:
                raise OSError(errno.EFBIG, "too large")
            while piece:
                written = os.pwrite(writing, piece, at)
                at, piece = at + written, piece[written:]
        if not dense:
            os.ftruncate(writing, min(size, os.fstat(reading).st_size))
