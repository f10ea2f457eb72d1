"""Writes the stream of `packing` into a bottle's fresh volume: the first process, once it has lost everything.

Standalone like it. The keeper says what is written, so nothing of it is doubted; and there is nothing but the bottle's own
files that this process, the agent's user by then, could write to. Owners are whoever writes; holes stay holes.
"""

from __future__ import annotations

import os
import time

if __package__:
    from claude_bottle.backend.docker import packing
else:  # in the container
    import packing  # type: ignore[import-not-found, no-redef]

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import IO

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


def fill(stream: IO[bytes], target: str) -> None:
    """All of one tree, into the empty directory `target`. OSError when it cannot be written."""
    levels = [(os.open(target, _DIRECTORY), b"")]
    file, dress = -1, b""
    while True:
        kind, size = packing.HEAD.unpack(exactly(stream, packing.HEAD.size))
        said = exactly(stream, size)
        held = levels[-1][0] if levels else -1
        if kind == packing.ENTER:
            name = said[packing.DRESS.size :]
            os.mkdir(name, 0o700, dir_fd=held)
            levels.append((os.open(name, _DIRECTORY, dir_fd=held), said))
        elif kind == packing.LEAVE:
            ended, dress = levels.pop()
            if dress:
                put_on(ended, dress, 0o700)
            os.close(ended)
        elif kind == packing.LINK:
            (length,) = packing.LENGTH.unpack_from(said)
            at = packing.LENGTH.size + length
            os.symlink(said[at:], said[packing.LENGTH.size : at], dir_fd=held)
        elif kind == packing.FILE:
            dress, at = said, packing.DRESS.size + packing.NUMBER.size
            file = os.open(said[at:], _NEW, 0o600, dir_fd=held)
            os.ftruncate(file, packing.NUMBER.unpack_from(said, packing.DRESS.size)[0])
        elif kind == packing.DATA:
            write(file, said[packing.NUMBER.size :], packing.NUMBER.unpack_from(said)[0])
        elif kind == packing.END:
            put_on(file, dress, 0o600)
            os.close(file)
        elif kind == packing.WHOLE:
            return


def exactly(stream: IO[bytes], size: int) -> bytes:
    data = stream.read(size)
    if len(data) != size:
        os._exit(0)  # the keeper is gone
    return data


def write(file: int, data: bytes, at: int) -> None:
    while data:
        written = os.pwrite(file, data, at)
        data, at = data[written:], at + written


def put_on(fd: int, dress: bytes, least: int) -> None:
    """Mode, always usable for its owner, and the time, if it has come."""
    mode, changed = packing.DRESS.unpack_from(dress)
    os.fchmod(fd, mode | least)
    changed = min(changed, time.time_ns())
    os.utime(fd, ns=(changed, changed))
