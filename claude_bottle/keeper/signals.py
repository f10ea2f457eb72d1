"""Signals that ask a command to end, held back while it does what must not be left half done.

A signal that came before is told at once, one that comes meanwhile at the end: both as KeyboardInterrupt, by the
handlers that are in place.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)


@contextmanager
def held_back() -> Iterator[Callable[[], None]]:
    """Until the block is left, or the function it gives is called."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _ENDING)

    def let_go() -> None:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)

    try:
        yield let_go
    finally:
        let_go()
