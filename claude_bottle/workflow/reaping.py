"""What keepers that were killed left behind, settled before the next bottle starts.

A keeper's files in the run directory go with it, so a name there whose keeper is dead is the sign of one that was killed:
its bottle is ended, brought home, archived and marked preserved, as `resume` would. A mark there without a bottle is of a
launch that was taken back while its engine did not answer: what that holds of it is removed. Looks at nothing else, since it
is on the way of every launch; may touch the state of interrupted bottles, and what their backends hold of them.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from claude_bottle import log
from claude_bottle.errors import BottleError
from claude_bottle.model.names import check_identity

if TYPE_CHECKING:
    from claude_bottle.state.paths import Paths


def reap(paths: Paths) -> None:
    """What cannot be settled now (its engine does not run, somebody else is at it) is left to a later command."""
    try:
        names = os.listdir(paths.run_dir)
    except OSError:
        return
    for identity in sorted({name.partition(".")[0] for name in names}):
        try:
            if _settled(paths, identity):
                log.say(f"{identity} had lost its keeper and is kept: claude-bottle resume {identity}")
        except (BottleError, OSError):
            pass


def _settled(paths: Paths, identity: str) -> bool:
    from claude_bottle.state.record import INTERRUPTED, effective_status
    from claude_bottle.state.store import Store

    record = Store(paths).find(identity)
    if record is None:
        _take_back(paths, identity)
    if record is None or effective_status(record) != INTERRUPTED:
        return False
    from claude_bottle.keeper.interrupted import settle_interrupted
    from claude_bottle.state.lock import IdentityLock

    with IdentityLock(paths, identity).acquire(wait=False):
        return effective_status(settle_interrupted(paths, identity)) != INTERRUPTED


def _take_back(paths: Paths, identity: str) -> None:
    """Nothing that an agent may have written to: volumes that were filled are left to whoever names them (`cleanup`)."""
    from claude_bottle.backend.registry import TABLE, get_bottle_backend

    mark = paths.run_dir / f"{check_identity(identity)}.begun"
    if mark.exists() and not mark.with_suffix(".filled").exists():
        backend = mark.read_bytes()[:32].decode("ascii", "replace")
        if backend in TABLE:
            get_bottle_backend(backend).remove(identity)
