"""The keeper's event loop: descriptors, timers, nothing else.

Single-threaded on purpose (the parent-death signal is bound to the thread, and nothing here needs a second one) and
without asyncio, which would cost 60 ms and 7 MB per bottle. A callback must not block; one that raises ends the loop.
"""

from __future__ import annotations

import os
import selectors
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from claude_bottle.backend.base import Process

READ, WRITE = selectors.EVENT_READ, selectors.EVENT_WRITE


class Timer:
    """A call that is due at a CLOCK_MONOTONIC time, once. `cancel` may be called at any time."""

    __slots__ = ("at", "call", "cancelled")

    def __init__(self, at: float, call: Callable[[], None]) -> None:
        self.at, self.call, self.cancelled = at, call, False

    def cancel(self) -> None:
        self.cancelled = True


class Loop:
    """Watches descriptors until `stop`. What is watched must be unwatched before it is closed."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._timers: list[Timer] = []
        self._running = False
        self.events = 0
        """How many descriptors have become ready so far; timers do not count."""

    def watch(self, fd: int, events: int, call: Callable[[int], None]) -> None:
        """Call `call(ready events)` whenever `fd` is ready; watching it again changes events and callback. No events:
        it is not watched."""
        if not events:
            self.unwatch(fd)
            return
        try:
            self._selector.modify(fd, events, call)
        except KeyError:
            self._selector.register(fd, events, call)

    def unwatch(self, fd: int) -> None:
        """Stop watching; nothing happens for what is not watched."""
        try:
            self._selector.unregister(fd)
        except KeyError:
            pass

    def later(self, seconds: float, call: Callable[[], None]) -> Timer:
        timer = Timer(time.monotonic() + seconds, call)
        self._timers.append(timer)
        return timer

    def run(self) -> None:
        """Until `stop` is called; may be run again afterwards."""
        self._running = True
        while self._running:
            for key, ready in self._selector.select(self._pause()):
                # An earlier callback of this round may have stopped watching it.
                if self._selector.get_map().get(key.fd) is key:
                    self.events += 1
                    key.data(ready)
            self._fire()

    def stop(self) -> None:
        self._running = False

    def close(self) -> None:
        self._selector.close()

    def _pause(self) -> float | None:
        self._timers = [timer for timer in self._timers if not timer.cancelled]
        if not self._timers:
            return None
        return max(0.0, min(timer.at for timer in self._timers) - time.monotonic())

    def _fire(self) -> None:
        now = time.monotonic()
        due = [timer for timer in self._timers if timer.at <= now]
        self._timers = [timer for timer in self._timers if timer.at > now]
        for timer in sorted(due, key=lambda timer: timer.at):
            if not timer.cancelled:
                timer.call()


def watch_exit(loop: Loop, process: Process, call: Callable[[], None]) -> int:
    """Call once when `process` has ended. Watches a duplicate: the process closes its own descriptor when anyone
    collects its exit code."""
    watched = os.dup(process.pidfd)

    def ended(_ready: int) -> None:
        loop.unwatch(watched)
        os.close(watched)
        call()

    loop.watch(watched, READ, ended)
    return watched
