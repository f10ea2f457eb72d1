"""One owner per identity: whoever boots, runs or removes a bottle holds its lock.

flock(2) on `state/<identity>/lock`: it dies with its last holder, so a crash leaves nothing to judge stale,
and it passes to a forked child, so the keeper keeps what the CLI took. The file goes when its state is
removed; a lock on a file that is no longer the one of that name counts for nothing. What the file says is for
people only: whether the holder's bottle runs, or the holder is a command that is done with it in a moment and waited
for, is told by the record.
"""

from __future__ import annotations

import errno
import fcntl
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

from claude_bottle.errors import BottleError
from claude_bottle.state import files
from claude_bottle.state.paths import Paths
from claude_bottle.state.record import timestamp

if TYPE_CHECKING:
    from typing import Self

# For another command to be done with it: most look at a bottle or note something. One that copies much may take longer.
PATIENCE = 5.0
_PAUSE = 0.05
_NOTE_LIMIT = 4096
_held: dict[Path, IdentityLock] = {}


class LockHeld(BottleError):
    """Another process owns this identity now."""


class IdentityLock:
    """The lock of one identity. Not a thread lock: one process, or its forked child, at a time."""

    def __init__(self, paths: Paths, identity: str) -> None:
        self._paths = paths
        self.path = paths.lock(identity)
        self.identity = identity
        self._fd = -1

    def acquire(self, *, wait: bool = True) -> Self:
        """Take it. LockHeld, naming the holder: at once while the bottle runs or starts, and without `wait`; else after
        PATIENCE seconds. BottleError when there is no such state."""
        if self._fd >= 0:
            return self
        fd = self._open()
        try:
            until = time.monotonic() + PATIENCE
            while not _locked(fd):
                runs = self._runs()
                if runs or not wait or time.monotonic() >= until:
                    raise self._held_by(fd, runs)
                time.sleep(_PAUSE)
            if not self._is_current(fd):
                raise self._gone()
        except BaseException:
            os.close(fd)
            raise
        self._fd = fd
        _held[self.path] = self
        self.note_holder()
        return self

    def note_holder(self) -> None:
        """Write down that this process holds it now, for whoever is refused. The keeper calls it after its
        fork."""
        note = f'{{"pid": {os.getpid()}, "since": "{timestamp()}"}}\n'.encode()
        try:
            os.ftruncate(self._fd, 0)
            os.pwrite(self._fd, note, 0)
        except OSError as problem:
            # The lock holds all the same; on a full disk only the name of its holder is missing.
            if problem.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise

    def fileno(self) -> int:
        """The descriptor to keep open (keeper) or to close (its children that are not the keeper)."""
        return self._fd

    def release(self) -> None:
        """Let go in this process. A forked child that has the lock too keeps it: so no LOCK_UN, only
        close."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
            _held.pop(self.path, None)

    def __enter__(self) -> Self:
        return self.acquire()

    def __exit__(self, *_: object) -> None:
        self.release()

    def _open(self) -> int:
        try:
            # No inheritance across exec: a program started by the keeper must not keep a bottle locked.
            return files.open_private(self.path, os.O_RDWR | os.O_CREAT)
        except FileNotFoundError:
            raise self._gone() from None

    def _is_current(self, fd: int) -> bool:
        try:
            return os.path.samestat(os.fstat(fd), os.lstat(self.path))
        except FileNotFoundError:
            return False

    def _gone(self) -> BottleError:
        return BottleError(f"no bottle called {self.identity}", do="claude-bottle ls --all lists them")

    def _runs(self) -> bool:
        """For how long nobody can tell."""
        from claude_bottle.state.store import Store

        try:
            return Store(self._paths).running(self.identity)
        except BottleError:
            return False

    def _held_by(self, fd: int, runs: bool) -> LockHeld:
        import json

        try:
            note = json.loads(os.pread(fd, _NOTE_LIMIT, 0))
            holder = f"held by process {int(note['pid'])} since {str(note['since'])[:40]}"
        except (ValueError, KeyError, TypeError):
            holder = "held by another process"
        running = f"attach to it (claude-bottle attach {self.identity}) or stop it first (claude-bottle stop {self.identity})"
        return LockHeld(f"{self.identity} is in use", why=holder, do=running if runs else "try again once that has ended")


def _locked(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def held_here(paths: Paths, identity: str) -> IdentityLock | None:
    """The lock this process holds on `identity`, taken here or before a fork."""
    return _held.get(paths.lock(identity))
