"""The bottles this host knows of, as directories under `state/`.

A directory appears by one rename and disappears by one rename, a record is replaced atomically, so a crash at
any moment leaves the old state or the new one. Damaged, foreign and newer entries are listed with their
remedy and never changed. Only `cleanup` removes anything, and never a bottle whose keeper lives or whose lock
another process holds.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from claude_bottle.errors import BottleError, UsageError
from claude_bottle.model.names import agent_of, check_identity
from claude_bottle.state import damage, files
from claude_bottle.state import record as records
from claude_bottle.state.paths import Paths
from claude_bottle.state.record import BottleRecord
from claude_bottle.state.removal import remove_tree

RECORD_LIMIT = 1 << 20
DAMAGED, NEWER = "damaged", "newer"
_NEW, _OLD = ".new-", ".removing-"


class Entry(NamedTuple):
    """One line of `ls`: a record with its effective status, or what is wrong with the entry and what to
    do."""

    identity: str
    status: str
    record: BottleRecord | None
    problem: BottleError | None = None


class Store:
    """The records of one state root."""

    def __init__(self, paths: Paths) -> None:
        self.paths = paths

    def create(self, record: BottleRecord) -> None:
        """Add a bottle: its directory (0700) with its record and an empty home appears whole.

        BottleError when the identity is taken. The caller takes the lock next (`IdentityLock`).
        """
        target = self.paths.state(record.identity)
        self.paths.ensure_root()
        files.ensure_private_dir(self.paths.states)
        staging = self.paths.states / f"{_NEW}{os.urandom(8).hex()}"
        try:
            os.mkdir(staging, 0o700)
            os.mkdir(staging / "home", 0o700)
            files.write_atomic(staging / "record.json", _encode(record))
            # rename(2) replaces an empty directory, and only that: two creators cannot both win.
            os.rename(staging, target)
        except OSError as problem:
            remove_tree(staging)
            if target.is_dir():
                raise BottleError(f"the identity {record.identity} is taken") from problem
            raise damage.cannot("create", target, problem) from problem
        except BottleError:
            remove_tree(staging)
            raise
        files.sync_directory(self.paths.states)

    def exists(self, identity: str) -> bool:
        path = os.path.dirname(self.paths.record_text(identity))
        return os.path.isdir(path) and not os.path.islink(path)

    def load(self, identity: str) -> BottleRecord:
        """The record. BottleError for an unknown identity (exit 1), Damaged or NewerSchema where it cannot be
        used."""
        try:
            return self._read(identity)
        except FileNotFoundError:
            raise self._missing(identity) from None

    def find(self, identity: str) -> BottleRecord | None:
        """As `load`; None when there is no such bottle, also when it goes at this very moment."""
        if not self.exists(identity):
            return None
        try:
            return self._read(identity)
        except FileNotFoundError:
            if self.exists(identity):
                raise self._missing(identity) from None
            return None

    def running(self, identity: str) -> bool:
        """Whether a process is at it, which the record names: first the command that starts it, then its keeper."""
        record = self.find(identity)
        while record and not alive(record):
            before, record = record, self.find(identity)
            if record and record.keeper == before.keeper:
                return False
        return record is not None

    def update(self, identity: str, **changes: object) -> BottleRecord:
        """Change some fields of a record and return the new one. Concurrent updates are serialised, none is
        lost."""
        with self._updating(identity):
            return self._replace(self.load(identity), changes)

    def mark_preserved(self, identity: str, reason: str) -> BottleRecord:
        """Add a reason why the state must be kept; repeating one changes nothing."""
        with self._updating(identity):
            record = self.load(identity)
            if reason in record.preserved:
                return record
            return self._replace(record, {"preserved": (*record.preserved, reason)})

    def identities(self) -> list[str]:
        """Every identity that has a state directory, sorted, damaged ones included."""
        return sorted(name for name in self._names() if _is_identity(name))

    def list(self) -> list[Entry]:
        """Every bottle, oldest first, broken ones at the end. What is not ours in `state/` is passed over."""
        entries = [entry for identity in self.identities() if (entry := self._entry(identity))]
        return sorted(entries, key=lambda e: (e.record is None, e.record.created if e.record else "", e.identity))

    def cleanup(self, identity: str) -> None:
        """Remove a bottle's state, its conversation archived first; nothing happens when there is none.

        BottleError for a running bottle and for state of a newer schema, LockHeld when another command is long at it.
        Damaged state goes: the operator named it.
        """
        from claude_bottle.state import transcripts
        from claude_bottle.state.lock import IdentityLock, held_here

        if not self.exists(identity):
            return
        record = self._known_or_bare(identity)
        # Whoever holds the lock may: a keeper whose launch failed, while the record still names the CLI that waits.
        held = held_here(self.paths, identity)
        if held is None and alive(record) and record.keeper != records.this_process():
            raise still_running(identity)
        try:
            lock = held or IdentityLock(self.paths, identity).acquire()
        except BottleError:
            if self.exists(identity):
                raise
            return  # by somebody else, meanwhile
        try:
            transcripts.snapshot(self.paths, record)
            self._remove(identity)
        finally:
            if held is None:
                lock.release()

    def sweep(self) -> None:
        """Finish removals and undo creations that a crash cut short."""
        for name in self._names():
            if name.startswith(_OLD) or (name.startswith(_NEW) and self._abandoned(name)):
                remove_tree(self.paths.states / name)

    def _abandoned(self, name: str) -> bool:
        """A creation takes milliseconds; one that is a minute old has died."""
        try:
            return time.time() - os.lstat(self.paths.states / name).st_mtime > 60
        except FileNotFoundError:
            return False

    def _remove(self, identity: str) -> None:
        """The caller holds the lock, whose file goes with the directory: whoever waits for it finds it
        gone."""
        try:
            remove_tree(self.paths.socket(identity))
        except NotADirectoryError:
            pass
        doomed = self.paths.states / f"{_OLD}{identity}-{os.urandom(4).hex()}"
        os.rename(self.paths.state(identity), doomed)
        files.sync_directory(self.paths.states)
        remove_tree(doomed)

    def _known_or_bare(self, identity: str) -> BottleRecord:
        """The record, or, where it is damaged, just enough of one to save the conversation."""
        try:
            return self.load(identity)
        except records.NewerSchema:
            raise
        except BottleError:
            return BottleRecord(identity, agent_of(identity), harness="", backend="")

    def _read(self, identity: str) -> BottleRecord:
        """FileNotFoundError where there is no record."""
        path = self.paths.record_text(identity)
        self.paths.check_root()
        try:
            record = BottleRecord.from_dict(files.read_json(path, RECORD_LIMIT))
        except records.BadRecord as problem:
            raise damage.damaged(path, str(problem)) from problem
        if record.identity != identity:
            raise damage.damaged(path, f"it is the record of {records.shown(record.identity)}")
        return record

    def _entry(self, identity: str) -> Entry | None:
        """None for one that has gone since it was seen."""
        try:
            record = self.find(identity)
            if record and records.effective_status(record) == records.INTERRUPTED:
                # Its keeper may have settled it, and ended, between the two looks; now that it is dead, it writes no more.
                record = self.find(identity)
        except records.NewerSchema as problem:
            return Entry(identity, NEWER, None, problem)
        except BottleError as problem:
            return Entry(identity, DAMAGED, None, problem)
        return Entry(identity, records.effective_status(record), record) if record else None

    def _names(self) -> Iterator[str]:
        if not self.paths.check_root() or not files.check_private_dir(self.paths.states_text()):
            return
        with os.scandir(self.paths.states_text()) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    yield entry.name

    def _missing(self, identity: str) -> BottleError:
        path = self.paths.state(identity)
        if path.is_dir():
            return damage.Damaged(
                f"{path} holds no record",
                why="record.json is missing",
                do=f"remove it (claude-bottle cleanup {identity}), or put its record back",
            )
        return BottleError(f"no bottle called {identity}", do="claude-bottle ls --all lists them")

    def _replace(self, record: BottleRecord, changes: dict[str, object]) -> BottleRecord:
        changed = BottleRecord.from_dict(record._replace(**changes).to_dict())  # type: ignore[arg-type]
        data = _encode(changed)
        if len(data) > RECORD_LIMIT:  # what could not be read again is not written
            why = f"more than {RECORD_LIMIT >> 10} KiB"
            raise BottleError(f"the record of {record.identity} would be too large", why=why)
        files.write_atomic(self.paths.record(record.identity), data)
        return changed

    @contextmanager
    def _updating(self, identity: str) -> Iterator[None]:
        """Keep other updaters of this record out for a moment: flock(2) on the state directory itself."""
        path = self.paths.state(identity)
        try:
            fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except (FileNotFoundError, NotADirectoryError):
            raise self._missing(identity) from None
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            yield
        finally:
            os.close(fd)


def alive(record: BottleRecord) -> bool:
    """Whether the keeper of this record runs now: by pid, start time and boot id."""
    return records.is_alive(record.keeper)


def still_running(identity: str) -> BottleError:
    """The error for asking of a running bottle what only a stopped one can do."""
    return BottleError(f"{identity} is running", do=f"stop it first: claude-bottle stop {identity}")


def _is_identity(name: str) -> bool:
    try:
        return check_identity(name) == name
    except UsageError:
        return False


def _encode(record: BottleRecord) -> bytes:
    import json

    return json.dumps(record.to_dict(), indent=2).encode() + b"\n"
