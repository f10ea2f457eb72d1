"""The gate's event loop: epoll, timers, and a way in for resolver threads.

Our own 100 lines instead of asyncio: a gate starts with every bottle and waits in it, and asyncio alone costs 45 ms and
3 MiB of that; handing a socket over to `splice` and one shared read buffer are plain here. May touch: descriptors that
were given to `watch`.
"""

from __future__ import annotations

import heapq
import os
import select
import time
from collections import deque
from collections.abc import Callable

READ, WRITE, EDGE = select.EPOLLIN, select.EPOLLOUT, select.EPOLLET
HANGUP = select.EPOLLHUP | select.EPOLLERR
_SOON = 0.02  # how long what is preferred may wait for what came before it, at most one handler more


class Timer:
    """A call in the future. `at` may be moved; `cancel` is final."""

    __slots__ = ("_at", "_loop", "call")

    def __init__(self, loop: Loop, at: float, call: Callable[[], None]) -> None:
        self._loop, self._at = loop, at
        self.call: Callable[[], None] | None = call

    @property
    def at(self) -> float:
        return self._at

    @at.setter
    def at(self, moment: float) -> None:
        # Later costs nothing: the loop finds out when the old moment comes. That is what every received byte does.
        earlier, self._at = moment < self._at, moment
        if earlier:
            self._loop.push(self)

    def cancel(self) -> None:
        if self.call is not None:
            self.call = None
            self._loop.cancelled()


class Loop:
    """Single-threaded; only `submit` may be called from other threads."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._handlers: dict[int, Callable[[int], None]] = {}
        self._preferred, self._looked = select.poll(), 0.0
        self._timers: list[tuple[float, int, Timer]] = []
        self._count = self._dead = 0
        self._submitted: deque[Callable[[], None]] = deque()
        self._wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._stopped = False
        self.now = time.monotonic()
        """The time (monotonic seconds) at which the present round of events began."""
        self.watch(self._wake, READ, self._woken)

    def watch(self, descriptor: int, mask: int, handler: Callable[[int], None]) -> None:
        """Call `handler(events)` when one of `mask` holds; hang-ups and errors are always told."""
        self._epoll.register(descriptor, mask)
        self._handlers[descriptor] = handler

    def prefer(self, descriptor: int) -> None:
        """Handle what arrives on a watched descriptor in the midst of whatever else there is to do. It is never forgotten."""
        self._preferred.register(descriptor, select.POLLIN)

    def change(self, descriptor: int, mask: int) -> None:
        self._epoll.modify(descriptor, mask)

    def forget(self, descriptor: int) -> None:
        """Stop watching. Call it before the descriptor is closed."""
        if self._handlers.pop(descriptor, None) is not None:
            self._epoll.unregister(descriptor)

    def after(self, seconds: float, call: Callable[[], None]) -> Timer:
        timer = Timer(self, self.now + seconds, call)
        self.push(timer)
        return timer

    def submit(self, call: Callable[[], None]) -> None:
        """Have `call` run in the loop's thread. Thread-safe. Nothing happens once the loop is closed."""
        self._submitted.append(call)
        if self._wake >= 0:
            os.eventfd_write(self._wake, 1)

    def stop(self) -> None:
        self._stopped = True

    def run(self) -> None:
        """Until `stop`."""
        self._stopped = False
        while not self._stopped:
            self.once()

    def once(self, longest: float | None = None) -> None:
        """One round: wait for events (at most `longest` seconds), handle them, run what is due."""
        handlers = self._handlers
        ready = self._epoll.poll(self._patience(longest))
        self._looked = time.monotonic()
        for descriptor, handler, events in [(number, handlers.get(number), events) for number, events in ready]:
            self._tell_the_time()
            # An earlier handler of this round may have closed it, and its number may even be another socket's by now.
            if handler is not None and handlers.get(descriptor) is handler:
                handler(events)
        self.now = time.monotonic()
        self._run_due()

    def close(self) -> None:
        self._epoll.close()
        wake, self._wake = self._wake, -1  # whose number may be another's at once
        os.close(wake)

    def _woken(self, events: int) -> None:
        os.eventfd_read(self._wake)
        for _ in range(len(self._submitted)):  # what these submit in turn waits for the next round: sockets come first
            self._tell_the_time()
            self._submitted.popleft()()

    def _tell_the_time(self) -> None:
        """Between two handlers: `now`, and what is preferred if much of it has passed."""
        self.now = time.monotonic()
        if self.now - self._looked > _SOON:
            self._looked = self.now
            for descriptor, events in self._preferred.poll(0):
                self._handlers[descriptor](events)

    def push(self, timer: Timer) -> None:
        """For `Timer`: queue it for its moment (again)."""
        self._count += 1
        heapq.heappush(self._timers, (timer.at, self._count, timer))

    def cancelled(self) -> None:
        """For `Timer`: one queued timer is dead. Long ones would pile up, so they are swept when they are the most."""
        self._dead += 1
        if self._dead > 64 and self._dead * 2 > len(self._timers):
            self._timers = [entry for entry in self._timers if entry[2].call is not None]
            heapq.heapify(self._timers)
            self._dead = 0

    def _patience(self, longest: float | None) -> float | None:
        if not self._timers:
            return longest
        left = max(0.0, self._timers[0][0] - time.monotonic())
        return left if longest is None else min(left, longest)

    def _run_due(self) -> None:
        while self._timers and self._timers[0][0] <= self.now:
            timer = heapq.heappop(self._timers)[2]
            if timer.call is None:
                self._dead = max(0, self._dead - 1)
                continue
            if timer.at > self.now:
                self.push(timer)  # it was moved since
                continue
            call, timer.call = timer.call, None
            call()
