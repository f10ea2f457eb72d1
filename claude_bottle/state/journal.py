"""What happened to one bottle, one JSON line each, chained by hash.

The keeper alone writes: each line goes out in one write before `append` returns, so a killed keeper loses
nothing, and is forced to the disk once a second or when asked, so a power cut loses at most that. Blocks
beyond the end are kept allocated: a full disk is noticed (`JournalFull`) while there is still room for the
last events. A line holds the SHA-256 of the line before it, so edits, drops and reorders show
(`journal_read.verify`).
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import time
from pathlib import Path

from claude_bottle.digests import sha256
from claude_bottle.errors import BottleError
from claude_bottle.model.events import NOTE
from claude_bottle.state import damage, files
from claude_bottle.state.journal_read import FIRST_PREV, LINE_LIMIT, Line, decode_line, read, verify
from claude_bottle.state.paths import Paths
from claude_bottle.state.record import JournalHead, timestamp
from claude_bottle.state.reserve import allocate_beyond_end

__all__ = ["Journal", "JournalFull", "read", "verify"]

RESERVE = 64 * 1024
# Some million requests. What is longer has been written for its length.
MOST = 4 << 30
_SYNC_EVERY = 1.0
_HEAD = 8 * 1024
_TORN = ".torn"
_TORN_LIMIT = 64 << 20
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO)


class JournalFull(BottleError):
    """The journal cannot grow any more: stop what must be recorded. `recorded` tells whether this event still
    was."""

    def __init__(self, path: Path, problem: OSError, recorded: bool) -> None:
        super().__init__(
            f"cannot record what happens in {path}",
            why=problem.strerror or str(problem),
            do="free some space there (claude-bottle cleanup removes what is no longer needed)"
            if problem.errno != errno.EFBIG else "end this bottle and go on in another (claude-bottle fork)",
        )
        self.recorded = recorded


class Journal:
    """The open journal of one identity. One writer at a time, told by flock(2) on the file."""

    def __init__(self, path: Path, fd: int) -> None:
        self.path = path
        self._fd = fd
        self._seq, self._prev, self._size = 0, FIRST_PREV, 0
        self._reserved_to = 0
        self._synced = time.monotonic()

    @classmethod
    def open(cls, paths: Paths, identity: str) -> Journal:
        """Open for appending, made if missing. A torn end left by a crash goes to `journal.jsonl.torn` and
        the chain goes on behind it with a `note` event. BottleError when another process writes to it."""
        path = paths.journal(identity)
        fd = files.open_private(path, os.O_RDWR | os.O_CREAT)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            journal = cls(path, fd)
            torn = journal._find_end()
        except BlockingIOError:
            os.close(fd)
            raise BottleError(f"another process writes to {path}", do=f"claude-bottle attach {identity}") from None
        except BaseException:
            os.close(fd)
            raise
        if torn:
            note = "the journal ended in a torn line"
            journal.append(NOTE, durable=True, note=note, bytes=torn, kept_in=f"{path.name}{_TORN}")
        return journal

    @property
    def head(self) -> JournalHead:
        """Sequence number and hash of the last line: kept elsewhere, it lets `verify` see a cut-off end."""
        return JournalHead(self._seq, self._prev)

    def append(self, kind: str, /, *, durable: bool = False, **data: object) -> int:
        """Record one event and return its sequence number. `durable` forces it to the disk before returning.

        JournalFull when the disk is full or failing: the caller must then let nothing more happen. `data`
        beyond 64 KiB is cut and marked.
        """
        seq = self._seq + 1
        line = self._encode(seq, kind, data)
        try:
            self._write(line)
        except OSError as problem:
            if problem.errno in _NO_ROOM:
                raise JournalFull(self.path, problem, recorded=False) from problem
            raise
        self._seq, self._prev = seq, sha256(line).hexdigest()
        self._settle(durable)
        return seq

    def sync(self) -> None:
        """Force what is written to the disk. JournalFull when it fails."""
        try:
            os.fdatasync(self._fd)
        except OSError as problem:
            raise JournalFull(self.path, problem, recorded=True) from problem
        self._synced = time.monotonic()

    def make_room(self) -> None:
        """Return if there is room for the events to come, without writing one. JournalFull when there is none."""
        self.sync()
        self._keep_reserve()

    def close(self) -> None:
        """Force all to the disk and give the reserve back."""
        if self._fd < 0:
            return
        try:
            os.ftruncate(self._fd, self._size)
            self.sync()
        finally:
            os.close(self._fd)
            self._fd = -1

    def _write(self, line: bytes) -> None:
        written = 0
        try:
            while written < len(line):
                written += os.pwrite(self._fd, line[written:], self._size + written)
        except OSError:
            if written:  # Half a line must not stay: the next one would be glued to it.
                os.ftruncate(self._fd, self._size)
            raise
        self._size += len(line)

    def _settle(self, durable: bool) -> None:
        """The line is written: make it durable if it is time, and see that there is room for those to
        come."""
        if durable or time.monotonic() - self._synced >= _SYNC_EVERY:
            self.sync()
        self._keep_reserve()

    def _keep_reserve(self) -> None:
        if self._size > MOST:
            raise JournalFull(self.path, OSError(errno.EFBIG, f"it is longer than {MOST >> 30} GiB"), recorded=True)
        if self._reserved_to - self._size > RESERVE // 2:
            return
        try:
            allocate_beyond_end(self._fd, self._size, RESERVE)
        except OSError as problem:
            raise JournalFull(self.path, problem, recorded=True) from problem
        self._reserved_to = self._size + RESERVE

    def _encode(self, seq: int, kind: str, data: dict[str, object]) -> bytes:
        line = {
            "seq": seq,
            "wall": timestamp(),
            "mono": round(time.monotonic(), 6),
            "prev": self._prev,
            "kind": kind,
        }
        encoded = _dump({**line, "data": data})
        if len(encoded) > LINE_LIMIT:
            text = _dump(data)
            cut = {
                "cut": True,
                "bytes": len(text),
                "sha256": sha256(text).hexdigest(),
                "head": text[:_HEAD].decode(),
            }
            encoded = _dump({**line, "data": cut})
        return encoded

    def _find_end(self) -> int:
        """Find the last line that is an event and go on from it. What stands behind it is set aside; its
        length."""
        size = os.fstat(self._fd).st_size
        span = 2 * LINE_LIMIT
        while True:
            window = os.pread(self._fd, span, max(0, size - span))
            last, end = _last_event(window)
            if last is not None or len(window) >= size:
                break
            if span > _TORN_LIMIT:
                raise damage.damaged(self.path, "its end holds no event of ours")
            span *= 2
        if last is not None and last.event is not None:
            self._seq, self._prev = last.event["seq"], last.digest
        self._size = size - (len(window) - end)
        if end < len(window):
            self._set_aside(window[end:])
        return len(window) - end

    def _set_aside(self, torn: bytes) -> None:
        """Keep the torn end in a file of its own before it is cut off."""
        fd = files.open_private(self.path.with_name(self.path.name + _TORN), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        try:
            files.write_all(fd, torn + b"\n")
            os.fsync(fd)
        finally:
            os.close(fd)
        os.ftruncate(self._fd, self._size)
        os.fsync(self._fd)


def _last_event(window: bytes) -> tuple[Line | None, int]:
    """The last line of `window` that is an event, and where it ends; (None, 0) when there is none."""
    end = window.rfind(b"\n") + 1
    while end > 0:
        start = window.rfind(b"\n", 0, end - 1) + 1
        line = decode_line(window[start:end])
        if line.event is not None:
            return line, end
        end = start
    return None, 0


def _dump(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode() + b"\n"
