"""What the dashboard knows of all bottles now: records, what their keepers say, what they take, their last line.

`refresh` looks at what nobody tells (records, processes, ends of journals), `absorb` takes in what keepers have pushed;
both are of the screen's thread, so nothing here is locked. What a bottle's agent wrote reaches a page only through
`lines`. An older keeper, one that has gone, state that is damaged: each is something to show, never an error.
"""

from __future__ import annotations

import queue
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from claude_bottle.dashboard.following import Followers, Said
from claude_bottle.dashboard.tails import JournalTail
from claude_bottle.keeper.client import Message
from claude_bottle.model.requests import OPEN, SUBMITTED
from claude_bottle.state.paths import Paths
from claude_bottle.values import dataclass, field
from claude_bottle.workflow.listing import listing
from claude_bottle.workflow.usage import Meter, Usage
from claude_bottle.workflow.watching import of_event

RUNNING = ("starting", "running", "settling")
_TRY_AGAIN_SECONDS = 10.0
_LAST_LINE_BYTES = 64 << 10


class Item(NamedTuple):
    """One request of one bottle: `view` is the keeper's, the same that the command line prints."""

    identity: str
    view: Mapping[str, Any]

    @property
    def key(self) -> tuple[str, str]:
        return self.identity, str(self.view.get("id"))

    @property
    def state(self) -> str:
        return str(self.view.get("state"))

    @property
    def waiting(self) -> bool:
        return self.state == SUBMITTED


@dataclass
class Watched:
    """One bottle. `row` is its line of `ls`; `problem` says why nothing is known of its requests."""

    identity: str
    row: dict[str, Any]
    asked: Message | None = None
    problem: str = ""
    status: Message = field(default_factory=dict)
    usage: Usage | None = None
    last: str = ""
    tail: JournalTail | None = None
    tried: float = float("-inf")

    @property
    def running(self) -> bool:
        return self.row["status"] in RUNNING

    @property
    def items(self) -> list[Item]:
        views = self.asked.get("requests") if self.asked else None
        return [Item(self.identity, view) for view in views if isinstance(view, dict)] if isinstance(views, list) else []

    @property
    def waiting(self) -> list[Item]:
        return [item for item in self.items if item.waiting]

    @property
    def grants(self) -> list[dict[str, Any]]:
        """The views of what its keeper has granted, what has ended lately among them."""
        views = self.asked.get("grants") if self.asked else None
        return [view for view in views if isinstance(view, dict)] if isinstance(views, list) else []


class Board:
    """`notify` is called, from any thread, when there is something to absorb."""

    def __init__(self, paths: Paths, notify: Callable[[], None] = lambda: None) -> None:
        self.paths, self._notify = paths, notify
        self.bottles: dict[str, Watched] = {}
        self.problem = ""
        self._said: queue.SimpleQueue[Said] = queue.SimpleQueue()
        self._followers = Followers(paths, self._hand_over)
        self._meter = Meter()

    def refresh(self) -> None:
        """Look again at records, processes and journals."""
        rows = {str(row["identity"]): row for row in listing(everything=True, paths=self.paths)}
        self.bottles = {identity: self._watched(identity, row) for identity, row in rows.items()}
        running = [watched for watched in self.bottles.values() if watched.running]
        now = time.monotonic()
        for watched in running:
            if watched.asked is None and now - watched.tried > _TRY_AGAIN_SECONDS:
                watched.tried = now
                self._followers.follow(watched.identity)
            self._read_last_line(watched)
        usages = self._meter.read({watched.identity: _pids(watched.status) for watched in running})
        for watched in self.bottles.values():
            watched.usage = usages.get(watched.identity)

    def absorb(self) -> bool:
        """Take in what keepers have said; whether it was anything."""
        heard = False
        while True:
            try:
                said = self._said.get_nowait()
            except queue.Empty:
                return heard
            heard = True
            if watched := self.bottles.get(said.identity):
                _take(watched, said)

    @property
    def requests(self) -> list[Item]:
        """Those that wait first, the oldest first; then those in progress; then what is decided, the newest first."""
        items = [item for watched in self.bottles.values() for item in watched.items]
        items.sort(key=lambda item: str(item.view.get("created")))
        waiting = [item for item in items if item.waiting]
        going = [item for item in items if item.state in OPEN and not item.waiting]
        return waiting + going + [item for item in reversed(items) if item.state not in OPEN]

    @property
    def waiting(self) -> list[Item]:
        return [item for item in self.requests if item.waiting]

    def item(self, key: tuple[str, str]) -> Item | None:
        """The request as it is now; None when nobody knows it any more."""
        watched = self.bottles.get(key[0])
        return next((item for item in watched.items if item.key == key), None) if watched else None

    def _watched(self, identity: str, row: dict[str, Any]) -> Watched:
        before = self.bottles.get(identity)
        if before is None:
            return Watched(identity, row)
        before.row = row
        if not before.running:
            before.asked, before.status = None, {}
        return before

    def _hand_over(self, said: Said) -> None:
        self._said.put(said)
        self._notify()

    def _read_last_line(self, watched: Watched) -> None:
        if watched.tail is None:
            watched.tail = JournalTail(self.paths, watched.identity, last=_LAST_LINE_BYTES)
        for event in reversed(watched.tail.read()):
            if one := of_event(event):
                watched.last = f"{one.what} {one.text}"
                return


def _take(watched: Watched, said: Said) -> None:
    if said.message is None:
        watched.asked, watched.problem = None, said.problem
    elif said.message.get("op") == "status":
        watched.status = said.message
    else:
        watched.asked, watched.problem = said.message, ""


def _pids(status: Message) -> list[int]:
    return [pid for name in ("keeper", "agent") if isinstance(pid := status.get(name), int) and pid > 1]
