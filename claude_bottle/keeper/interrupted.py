"""Settles a bottle whose keeper was killed or whose host went down, from what lies on the disk."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from claude_bottle import log
from claude_bottle.errors import BottleError
from claude_bottle.keeper import live_work
from claude_bottle.keeper.settle import INTERRUPTED
from claude_bottle.model import events
from claude_bottle.state import record as records
from claude_bottle.state import transcripts
from claude_bottle.state.journal import Journal
from claude_bottle.state.lock import IdentityLock, held_here
from claude_bottle.state.store import Store
from claude_bottle.state.work_note import UNEXPORTED
from claude_bottle.workspace import opening

if TYPE_CHECKING:
    from claude_bottle.state.paths import Paths
    from claude_bottle.state.record import BottleRecord


def settle_interrupted(paths: Paths, identity: str) -> BottleRecord:
    """Archive what its home holds, mark it preserved, remove the dead keeper's socket. Returns the record, unchanged when
    there is nothing to settle (also while it runs). BottleError as from the store; LockHeld when somebody else is at it."""
    store = Store(paths)
    record = store.load(identity)
    if records.effective_status(record) != records.INTERRUPTED:
        return record
    held = held_here(paths, identity)
    lock = held or IdentityLock(paths, identity).acquire()
    try:
        record = store.load(identity)
        if records.effective_status(record) != records.INTERRUPTED:
            return record
        recover(paths, record)
        record = store.load(identity)
        changed, lines = live_work.to_tell(paths, identity)
        for line in lines:
            log.warn(line)
        reasons = (*record.preserved, INTERRUPTED, *([UNEXPORTED] if _has_unexported(paths, identity) else []))
        archive = transcripts.snapshot(paths, record)
        journal = Journal.open(paths, identity)
        try:
            journal.append(events.ARCHIVED, path=str(archive) if archive else None)
            if changed:
                journal.append(events.LIVE_TRIGGERS, changed=changed)
            journal.append(events.PRESERVED, durable=True, reasons=[INTERRUPTED])
            head = journal.head
        finally:
            journal.close()
        live_work.told(paths, identity)
        try:
            os.unlink(paths.socket(identity))
        except FileNotFoundError:
            pass
        return store.update(identity, status=records.PRESERVED, preserved=tuple(dict.fromkeys(reasons)), journal=head,
                            ended=record.ended or records.timestamp())  # fmt: skip
    finally:
        if held is None:
            lock.release()


def _has_unexported(paths: Paths, identity: str) -> bool:
    """Also where that cannot be told; noted for `ls`."""
    try:
        return opening.has_work(paths, identity) and bool(opening.judge(paths, identity))
    except (BottleError, OSError):
        return True


def recover(paths: Paths, record: BottleRecord) -> None:
    """End and bring home what the bottle of a dead keeper left in its backend; remove what it left in a live workspace;
    complete its going back to a checkpoint."""
    from claude_bottle.backend import get_bottle_backend
    from claude_bottle.keeper import restoring

    home, workspace = paths.home(record.identity), paths.workspace(record.identity)
    get_bottle_backend(record.backend).recover(record.identity, home, workspace)
    live_work.let_go(paths, record.identity)
    restoring.complete(paths, record.identity)
