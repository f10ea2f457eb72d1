"""What lies in a directory, as one stream: a bottle's volumes on their way home, and its files on their way in (`seeding`).

Of volumes, it runs in a container of its own that may read them and nothing else: standalone, as `python3 -I -S -c` of this
very text. Every directory is entered by descriptor and no link is followed, so nothing else is read, whatever changes
meanwhile; holes are passed over, so a file costs what it holds and not what it measures. What is no file, directory or link
is left out; what is too deep is left out and named. Who reads the stream here believes none of it (`unpacking`).
"""

from __future__ import annotations

import errno
import os
import stat
import struct
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

# A frame is its kind, the size of what follows, and that.
HEAD = struct.Struct("<cI")
# A tree begins; a directory is entered (DRESS, name) and left; a file begins (DRESS, its size, name), holds something
# (at, bytes) and ends; a link (length of its name, name, text); what is left out, in words; all of it has been said.
TREE, ENTER, LEAVE, FILE, DATA, END, LINK, NOTE, WHOLE = b"T", b"D", b"U", b"F", b"C", b"E", b"L", b"N", b"W"
DRESS, NUMBER, LENGTH = struct.Struct("<HQ"), struct.Struct("<Q"), struct.Struct("<H")  # mode and time in nanoseconds
MAX_DEPTH, PIECE, MAX_NOTES = 128, 1 << 18, 100

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


class Packing:
    """Writes to `out`."""

    def __init__(self, out: int) -> None:
        self.out, self.waiting, self.notes = out, bytearray(), 0

    def tree(self, directory: bytes) -> None:
        self.say(TREE)
        top = os.open(directory, _DIRECTORY)
        levels = [(top, os.scandir(top), b"")]
        while levels:
            held, entries, path = levels[-1]
            entry = next(entries, None)
            if entry is None:
                levels.pop()
                entries.close()
                os.close(held)
                self.say(LEAVE)
                continue
            name = os.fsencode(entry.name)
            where = path + b"/" + name if path else name
            try:
                inner = self.one(held, name, where, len(levels))
            except OSError as failure:
                if failure.errno != errno.ENOENT:  # it has gone meanwhile
                    raise
                continue
            if inner >= 0:
                levels.append((inner, os.scandir(inner), where))

    def one(self, held: int, name: bytes, where: bytes, depth: int) -> int:
        """Say what this is; a descriptor of a directory to go on in, else -1."""
        found = os.stat(name, dir_fd=held, follow_symlinks=False)
        if stat.S_ISLNK(found.st_mode):
            self.say(LINK, LENGTH.pack(len(name)), name, os.readlink(name, dir_fd=held))
        elif stat.S_ISREG(found.st_mode):
            self.file(held, name)
        elif stat.S_ISDIR(found.st_mode) and depth > MAX_DEPTH:
            self.note(where, b"too deep")
        elif stat.S_ISDIR(found.st_mode):
            inner = os.open(name, _DIRECTORY, dir_fd=held)
            self.say(ENTER, dress(os.fstat(inner)), name)
            return inner
        return -1

    def file(self, held: int, name: bytes) -> None:
        reading = os.open(name, _FILE, dir_fd=held)
        try:
            found = os.fstat(reading)
            if not stat.S_ISREG(found.st_mode):
                return
            self.say(FILE, dress(found), NUMBER.pack(found.st_size), name)
            for at, piece in held_by(reading, found.st_size):
                self.say(DATA, NUMBER.pack(at), piece)
            self.say(END)
        finally:
            os.close(reading)

    def note(self, where: bytes, why: bytes) -> None:
        self.notes += 1
        if self.notes <= MAX_NOTES:
            self.say(NOTE, where[-200:] + b": " + why)

    def say(self, kind: bytes, *parts: bytes) -> None:
        self.waiting += HEAD.pack(kind, sum(map(len, parts)))
        for part in parts:
            self.waiting += part
        if len(self.waiting) >= PIECE or kind == WHOLE:
            self.send()

    def send(self) -> None:
        while self.waiting:
            del self.waiting[: os.write(self.out, self.waiting)]


def dress(found: os.stat_result) -> bytes:
    return DRESS.pack(found.st_mode & 0o777, max(0, found.st_mtime_ns))


def held_by(reading: int, size: int) -> Iterator[tuple[int, bytes]]:
    """(offset, bytes) of all that is no hole, no further than `size`: it may grow as fast as it is read."""
    at = 0
    while at < size:
        try:
            at = os.lseek(reading, at, os.SEEK_DATA)
            end = min(os.lseek(reading, at, os.SEEK_HOLE), size)
        except OSError as failure:
            if failure.errno != errno.ENXIO:
                raise
            return  # a hole up to its end
        while at < end:
            piece = os.pread(reading, min(PIECE, end - at), at)
            if not piece:
                return
            yield at, piece
            at += len(piece)


def main() -> None:
    packing = Packing(1)
    for directory in sys.argv[1:]:
        packing.tree(os.fsencode(directory))
    packing.say(WHOLE)


if __name__ == "__main__":
    main()
