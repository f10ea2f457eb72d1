"""Where the bottle's requests are handed in, and where those wait who handed them in.

The desk gives each request a ticket and passes it to the keeper; the keeper gives it an id and tells of every change, and
whoever waits for that id hears it. It decides nothing, and nothing in a bottle can make it say that something was decided:
`heard` is for the control line alone. How many may wait, and how fast requests may come, is bounded here. No I/O.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Callable

from claude_bottle.gate import core, limits
from claude_bottle.model.requests import OPEN, REJECTED, STATES
from claude_bottle.redact import printable

MAX_TEXT = 4000
_KNOWN = 256


class Busy(Exception):
    """Not now. The text is for the agent."""


class Wait:
    """One who waits for one request. `id` is "" until the keeper has given it one; `state` and `text` are the last it has
    told."""

    __slots__ = ("cancelled", "changed", "id", "state", "text")

    def __init__(self) -> None:
        self.id = self.state = self.text = ""
        self.cancelled = False
        """Whoever waited does not want the answer any more."""
        self.changed: Callable[[], None] | None = None

    @property
    def done(self) -> bool:
        return self.state != "" and self.state not in OPEN

    def news(self, state: str, text: str) -> None:
        self.state, self.text = state, text
        self.wake()

    def cancel(self) -> None:
        self.cancelled = True
        self.wake()

    def wake(self) -> None:
        if self.changed is not None:
            self.changed()


class Desk:
    """`clock` in seconds, for the rate."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._asked: dict[str, Wait] = {}
        self._following: dict[str, list[Wait]] = {}
        self._known: OrderedDict[str, tuple[str, str]] = OrderedDict()
        self._room, self._since = float(limits.ASKS), clock()

    @property
    def waiting(self) -> int:
        return len(self._asked) + sum(map(len, self._following.values()))

    def ask(self, change: dict[str, object], reason: str, via: str) -> tuple[Wait, core.Tell]:
        """Hand in a change that has been found sound. Busy when there are too many."""
        self._check_room()
        now = self._clock()
        self._room = min(float(limits.ASKS), self._room + (now - self._since) / limits.ASK_EVERY)
        self._since = now
        if self._room < 1:
            raise Busy("too many requests in a short time; wait a minute, and ask for what belongs together in one request")
        self._room -= 1
        ticket, wait = f"t-{os.urandom(8).hex()}", Wait()
        self._asked[ticket] = wait
        return wait, core.Tell("ask", {"ticket": ticket, "change": change, "reason": reason, "via": via})

    def follow(self, request: str) -> Wait | None:
        """Wait for a request of this bottle that was handed in before; None for one that is not known. Busy as above."""
        known = self._known.get(request)
        if known is None:
            return None
        wait = Wait()
        wait.id, (wait.state, wait.text) = request, known
        if not wait.done:
            self._check_room()
            self._following.setdefault(request, []).append(wait)
        return wait

    def known(self) -> list[dict[str, str]]:
        """The requests of this bottle that are remembered, oldest first."""
        return [{"id": one, "state": state, "text": text} for one, (state, text) in self._known.items()]

    def leave(self, wait: Wait) -> None:
        """Nobody waits there any more. What was asked stays with the operator."""
        wait.changed = None
        for ticket in [ticket for ticket, one in self._asked.items() if one is wait]:
            del self._asked[ticket]
        waiting = self._following.get(wait.id, [])
        if wait in waiting:
            waiting.remove(wait)
            if not waiting:
                del self._following[wait.id]

    def heard(self, ticket: str, request: str, state: str, text: str) -> None:
        """What the keeper says of a request. Without an id there is none: it was turned away, or is granted already."""
        state = state if state in STATES and (request or state not in OPEN) else REJECTED
        text = printable(text[:MAX_TEXT], keep_newlines=True)
        wait = self._asked.pop(ticket, None)
        if not request:
            if wait is not None:
                wait.news(state, text)
            return
        if wait is not None:
            wait.id = request
            self._following.setdefault(request, []).append(wait)
        self._remember(request, state, text)
        ended = state not in OPEN
        for one in self._following.pop(request, []) if ended else list(self._following.get(request, ())):
            one.news(state, text)

    def _remember(self, request: str, state: str, text: str) -> None:
        self._known[request] = (state, text)
        self._known.move_to_end(request)
        while len(self._known) > _KNOWN:
            self._known.popitem(last=False)

    def _check_room(self) -> None:
        if self.waiting >= limits.WAITS:
            raise Busy(f"{limits.WAITS} requests of this bottle are being waited for already; wait for their answers first")
