"""Archives the conversation while the agent runs, for backends whose home does not lie on this host's disk.

Fetching and archiving take a moment, more for a long conversation, so both happen on a thread of their own: the loop goes
on moving the operator's bytes. That thread writes to the home and the archive; the record stays the loop's. Only one fetch
is under way at a time, and none when nothing has moved since the last one (an agent that neither writes to its terminal
nor reaches its model says nothing new).
"""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING

from claude_bottle.errors import BottleError
from claude_bottle.keeper import settle
from claude_bottle.keeper.loop import READ

if TYPE_CHECKING:
    from claude_bottle.keeper.boot import Booted
    from claude_bottle.keeper.loop import Timer
    from claude_bottle.keeper.order import Order

# A fetch may take this part of the time at most: a conversation that takes long to fetch is fetched less often.
_SHARE = 0.25
# Whoever fetches what a bottle wrote replaces it on this host: one at a time.
ALONE = threading.Lock()


class Snapshots:
    """`seconds`: how often, while anything happens. Begins at once; `finish` before the settlement takes its own."""

    def __init__(self, order: Order, booted: Booted, seconds: float) -> None:
        self._order, self._booted, self._loop, self._seconds = order, booted, booted.loop, seconds
        self._done, self._finished = os.pipe()
        self._thread: threading.Thread | None = None
        self._problem: BottleError | None = None
        self._session = ""
        self._told: str | None = None
        self._seen, self._took = -1, 0.0
        self._loop.watch(self._done, READ, self._fetched)
        self._timer: Timer = self._loop.later(seconds, self._due)

    def finish(self) -> None:
        """Wait for a fetch that is under way, and begin no other."""
        self._timer.cancel()
        self._loop.unwatch(self._done)
        if self._thread:
            self._thread.join()
            self._thread = None
        if self._done >= 0:
            os.close(self._done)
            os.close(self._finished)
            self._done = self._finished = -1

    def _due(self) -> None:
        names = self._booted.store.load(self._order.identity).conversation
        if not names or self._loop.events == self._seen:
            self._again(self._seconds)
            return
        self._seen = self._loop.events
        self._thread = threading.Thread(target=self._fetch, args=(names,), daemon=True)
        self._thread.start()

    def _fetch(self, names: tuple[str, ...]) -> None:
        from time import monotonic

        began = monotonic()
        try:
            with ALONE:
                self._booted.bottle.fetch_home(names)
            _, self._session = settle.archive(self._order, self._booted.store.load(self._order.identity))
            self._problem = None
        except BottleError as problem:
            self._problem = problem
        except Exception as bug:
            self._problem = BottleError("the conversation could not be fetched", why=type(bug).__name__)
        self._took = monotonic() - began
        os.write(self._finished, b".")

    def _fetched(self, _ready: int) -> None:
        os.read(self._done, 1)
        self._seen += 1  # our own wake-up is no news
        if self._thread:
            self._thread.join()
            self._thread = None
        try:
            if self._problem:
                raise self._problem
            settle.note_session(self._order, self._booted, self._session)
            self._told = None
        except BottleError as problem:
            if problem.what != self._told:  # once, not every second
                self._booted.audit.problem(problem)
            self._told = problem.what
        self._again(max(self._seconds - self._took, self._took * (1 - _SHARE) / _SHARE))

    def _again(self, seconds: float) -> None:
        self._timer = self._loop.later(seconds, self._due)
