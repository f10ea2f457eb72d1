"""Reaching a keeper before it can be spoken to, or after.

A bottle has a socket from the end of its boot until its agent has ended; before that it starts, after that it settles,
and a process lives that is at it. Who wants it to end waits for either (`reach`), who wants it to be at rest waits for
its settlement (`let_settle`), as does who takes it as it is but for that (`settled_or_running`), and everybody else is told
which of the two it is (`absence`). Looks at records, sockets and processes, changes nothing.
"""

from __future__ import annotations

import contextlib
import os
import select
from typing import TYPE_CHECKING

from claude_bottle import log
from claude_bottle.errors import BottleError
from claude_bottle.keeper.absence import NotRunning, absence
from claude_bottle.keeper.client import Control
from claude_bottle.state import record as records
from claude_bottle.state.store import Store

if TYPE_CHECKING:
    from claude_bottle.state.paths import Paths
    from claude_bottle.state.record import BottleRecord, ProcessId

_PAUSE = 0.1


def reach(paths: Paths, identity: str) -> Control | None:
    """A connection to its keeper once it takes any; None when it has settled instead. NotRunning when nothing of it runs
    to begin with."""
    at_it = _at_it(paths, identity)
    try:
        return Control(paths, identity)
    except NotRunning:
        if at_it is None:
            raise
    log.say(f"waiting until {identity} is up, or settled")
    while at_it := _after_a_pause(paths, identity, at_it):
        with contextlib.suppress(NotRunning):
            return Control(paths, identity)
    return None


def let_settle(paths: Paths, identity: str) -> None:
    """Wait while it is being settled. NotRunning when it starts: there is no telling how long it will run."""
    at_it = _at_it(paths, identity)
    if at_it is None or paths.socket(identity).exists():
        return
    try:
        starting = Store(paths).load(identity).status == records.STARTING
    except BottleError:
        return  # it has just gone, or else whoever goes on says what is wrong with it
    if starting:
        raise absence(paths, identity)
    log.say(f"{identity} has ended; waiting until it is settled")
    while at_it and not paths.socket(identity).exists():
        at_it = _after_a_pause(paths, identity, at_it)


def settled_or_running(paths: Paths, identity: str) -> BottleRecord:
    """Its record, which is not that of a bottle that is just being settled. BottleError as from the store."""
    record = Store(paths).load(identity)
    if records.effective_status(record) == records.SETTLING:
        let_settle(paths, identity)
        record = Store(paths).load(identity)
    return record


def _at_it(paths: Paths, identity: str) -> ProcessId | None:
    """The living process that a bottle's record names."""
    record = Store(paths).find(identity)
    return record.keeper if record and records.is_alive(record.keeper) else None


def _after_a_pause(paths: Paths, identity: str, before: ProcessId) -> ProcessId | None:
    """Who is at it after a moment. One whom the record names no more still holds the lock until it ends."""
    try:
        pidfd = os.pidfd_open(before.pid)
    except ProcessLookupError:
        return _at_it(paths, identity)
    try:
        select.select([pidfd], [], [], _PAUSE)
    finally:
        os.close(pidfd)
    return _at_it(paths, identity) or (before if records.is_alive(before) else None)
