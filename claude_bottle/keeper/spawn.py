"""How the short-lived CLI makes a keeper: two forks and one report.

The first fork leaves the CLI's session and process group, the second makes sure the keeper can never get a terminal
again and belongs to nobody who would have to collect it. Then the CLI waits: the keeper answers with `up` or with the
error that made it take everything back. A child never returns into the caller's code.
"""

from __future__ import annotations

import gc
import os
import socket
import sys
from typing import TYPE_CHECKING

from claude_bottle import log
from claude_bottle.keeper import birth
from claude_bottle.keeper.order import Order, Pipes, Up
from claude_bottle.keeper.signals import held_back

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Order", "Pipes", "Up", "start"]


def start(order: Order, announce: Callable[[], object] = lambda: None) -> Up:
    """Launch what `order` says. The caller holds the identity's lock, and no longer does when this returns: it is the
    keeper's. BottleError as the keeper reported it, after it took everything back (the state too, see `Order`).
    KeyboardInterrupt while waiting takes everything back as well; one that comes once the bottle runs on without us, only
    after `announce` was called.
    """
    from claude_bottle.state.lock import held_here

    # A signal to the terminal's whole group must not hit the child before it is a daemon that knows what to do with it.
    with held_back() as let_go:
        mine, theirs = socket.socketpair()
        for stream in (sys.stdout, sys.stderr):
            if stream:
                stream.flush()  # or the child would write the same bytes again
        log.mark("order complete")
        pid = os.fork()
        if pid == 0:
            mine.close()
            _become_keeper(order, theirs)
        try:
            theirs.close()
            if order.pipes:
                order.pipes.close_agent()
            if order.begun:
                order.begun.hand_over()
            let_go()
            os.waitpid(pid, 0)
            keeper = birth.await_report(mine)
            with held_back():
                birth.take(mine)
                announce()
        except BaseException:
            mine.close()
            raise
    lock = held_here(order.paths, order.identity)
    if lock:
        lock.release()
    return Up(order.identity, keeper, mine)


def _become_keeper(order: Order, theirs: socket.socket) -> None:
    """The children. Everything of the caller's stays as it is in memory (no finaliser of its objects may run, their
    descriptors are no longer theirs), and os._exit skips its exit handlers."""
    try:
        gc.freeze()
        os.setsid()
        if os.fork() == 0:
            from claude_bottle.keeper.main import keep

            keep(order, theirs)
    finally:
        os._exit(0)
