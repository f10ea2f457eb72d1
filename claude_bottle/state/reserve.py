"""Disk space set aside for the last lines of a journal.

fallocate(2) with FALLOC_FL_KEEP_SIZE gives blocks beyond the end of a file to that file: unlike a spare file
that is deleted when the disk is full, nobody else can take them in between. Python has no call for it, so
ctypes does it.
"""

from __future__ import annotations

import ctypes
import errno
import os

_KEEP_SIZE = 0x01
_libc = ctypes.CDLL(None, use_errno=True)
_libc.fallocate.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64)


def allocate_beyond_end(fd: int, offset: int, length: int) -> bool:
    """Reserve `length` bytes from `offset`. False where the file system cannot; OSError (ENOSPC) when there
    is none."""
    while _libc.fallocate(fd, _KEEP_SIZE, offset, length) != 0:
        code = ctypes.get_errno()
        if code in (errno.EOPNOTSUPP, errno.ENOSYS):
            return False
        if code != errno.EINTR:
            raise OSError(code, os.strerror(code))
    return True
