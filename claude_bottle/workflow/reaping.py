"""What keepers that were killed left behind, settled before the next bottle starts.

A keeper's files in the run directory go with it, so a name there whose keeper is dead is the sign of one that was killed:
its bottle is ended, brought home, archived and marked preserved, as `resume` would. Looks at nothing else, since it is on
the way of every launch; may touch the state of interrupted bottles, and what their backends hold of them.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from claude_bottle import log
from claude_bottle.errors import BottleError

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

    if effective_status(Store(paths).load(identity)) != INTERRUPTED:
        return False
    from claude_bottle.keeper.interrupted import settle_interrupted
    from claude_bottle.state.lock import IdentityLock

    with IdentityLock(paths, identity).acquire(wait=False):
        return effective_status(settle_interrupted(paths, identity)) != INTERRUPTED
