"""The state of a container bottle, by the names of the original interface.

State and transcripts lie above the backends, so the four calls are those of `state.contract`. What only this package knows
is added: the home of a bottle whose keeper died is still in its volume and is brought here before it is archived or
removed, and a bottle that is cleaned up has objects on an engine. May touch: the state root, and objects that carry this
installation's label.
"""

from __future__ import annotations

from pathlib import Path

from claude_bottle.backend.registry import get_bottle_backend
from claude_bottle.state import contract
from claude_bottle.state.contract import is_preserved, mark_preserved
from claude_bottle.state.damage import Damaged
from claude_bottle.state.lock import IdentityLock, held_here
from claude_bottle.state.paths import Paths
from claude_bottle.state.record import INTERRUPTED, BottleRecord, effective_status
from claude_bottle.state.store import Store

__all__ = ["bring_home", "cleanup_state", "is_preserved", "mark_preserved", "snapshot_transcript"]
_OURS = "docker"


def snapshot_transcript(identity: str) -> Path | None:
    """Archive the conversation as it is now; returns the archive, None when there is nothing to archive. While a bottle
    runs that is its keeper's latest fetch, a second old at most. BottleError for an unknown identity, and when a dead
    keeper's volume cannot be read: what is archived then stays as it was."""
    if identity:
        bring_home(identity)
    return contract.snapshot_transcript(identity)


def cleanup_state(identity: str) -> None:
    """Remove the state of a bottle, conversation archived first, and every object of it on its engine, also one that is
    left over without any state. BottleError while it runs, and, with everything kept, when its engine cannot be asked for
    a conversation that only it has."""
    if not identity:
        return
    record = _record(identity)
    if record:
        bring_home(identity)
    contract.cleanup_state(identity)
    get_bottle_backend(record.backend if record else _OURS).remove(identity)


def bring_home(identity: str) -> None:
    """What an interrupted bottle wrote, from its volumes into its state directory; its objects are removed then. Nothing
    happens for one that runs, or has ended in order. LockHeld when somebody else is at it."""
    paths = Paths.default()
    record = Store(paths).load(identity)
    if effective_status(record) != INTERRUPTED:
        return
    held = held_here(paths, identity)
    lock = held or IdentityLock(paths, identity).acquire()
    try:
        get_bottle_backend(record.backend).recover(identity, paths.home(identity), paths.workspace(identity))
    finally:
        if held is None:
            lock.release()


def _record(identity: str) -> BottleRecord | None:
    """None where there is no state, or only damaged state."""
    try:
        return Store(Paths.default()).find(identity)
    except Damaged:
        return None
