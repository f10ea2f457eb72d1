"""The end of a conversation while it is being written: new lines, wherever its file is just now.

From the bottle's home while that lies on this host, else from the archive that the keeper keeps up to date. The home is the
agent's: its file is opened through no link, and no more is read at a time, or kept of one line, than a bound.
"""

from __future__ import annotations

import os
import stat

from claude_bottle import harness as harnesses
from claude_bottle.errors import BottleError
from claude_bottle.state import beneath, transcripts
from claude_bottle.state.paths import Paths
from claude_bottle.state.record import BottleRecord
from claude_bottle.state.transcript_text import LINE_LIMIT

FIRST_BYTES = 1 << 20
_READ, _PIECE = 8 << 20, 1 << 20
_HOME = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# Where the file is now is asked for now and then: there is none before the first word, and it may be put in place anew.
_LOOK_EVERY = 4


class ConversationTail:
    """Begins with the lines of the last bytes there are (`first`); of one that begins later, with its first line."""

    def __init__(self, paths: Paths, record: BottleRecord, *, first: int = FIRST_BYTES) -> None:
        self._paths, self._record, self._first = paths, record, first
        self._fd = -1
        self._offset = 0
        self._rest = b""
        self._skipping = False
        self._calls = 0

    def lines(self) -> list[bytes]:
        """Whole lines since the last call."""
        self._calls += 1
        if self._calls % _LOOK_EVERY == 0:
            self._follow()
        if self._fd < 0 and not self._open():
            return []
        if os.fstat(self._fd).st_size < self._offset:  # written anew
            self._offset, self._rest, self._skipping = 0, b"", False
        found: list[bytes] = []
        budget = _READ
        while budget > 0 and (piece := os.pread(self._fd, _PIECE, self._offset)):
            self._offset += len(piece)
            budget -= len(piece)
            found += self._cut(piece)
        return found

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def __del__(self) -> None:
        self.close()

    def _cut(self, piece: bytes) -> list[bytes]:
        *whole, rest = (self._rest + piece).split(b"\n")
        if self._skipping and whole:
            del whole[0]
            self._skipping = False
        self._rest = rest
        if len(rest) > LINE_LIMIT:
            self._rest, self._skipping = b"", True
        return [line for line in whole if len(line) <= LINE_LIMIT]

    def _open(self) -> bool:
        if self._calls % _LOOK_EVERY != 1:
            return False
        self._fd = self._found()
        if self._fd < 0:
            return False
        if self._calls == 1:
            self._offset = max(os.fstat(self._fd).st_size - self._first, 0)
        self._skipping = self._offset > 0
        return True

    def _follow(self) -> None:
        """Go on in the file that has taken the place of ours, where we were: a conversation only grows."""
        if self._fd < 0:
            return
        now = self._found()
        if now < 0 or os.path.sameopenfile(now, self._fd):
            if now >= 0:
                os.close(now)
            return
        os.close(self._fd)
        self._fd = now

    def _found(self) -> int:
        fd = self._in_home()
        return fd if fd >= 0 else self._in_archive()

    def _in_home(self) -> int:
        home = self._paths.home(self._record.identity)
        try:
            names = harnesses.get(self._record.harness).transcript_files(home, self._record.session_id)
            directory = os.open(home, _HOME)
        except (BottleError, OSError):
            return -1
        try:
            return _regular(beneath.open_beneath(directory, names[0][0])) if names else -1
        except (OSError, ValueError):
            return -1
        finally:
            os.close(directory)

    def _in_archive(self) -> int:
        try:
            archive = transcripts.load(self._paths, self._record.identity)
            name = archive.file_path(archive.files[0]) if archive.files else None
            return -1 if name is None else _regular(os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC))
        except (BottleError, OSError):
            return -1


def _regular(fd: int) -> int:
    """A FIFO or a device in the place of the file would hold us up, or worse."""
    if stat.S_ISREG(os.fstat(fd).st_mode):
        return fd
    os.close(fd)
    return -1
