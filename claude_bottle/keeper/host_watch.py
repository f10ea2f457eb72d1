"""Tells while a bottle runs what the host changes below its layer: the bottle sees that, mixed with its own.

Looks at the names and times of all of the directory, and notes at the first look the names that were handed in. What the
bottle has the same, because it was applied from it, is not told. May write the note for `ls` and nothing else.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from claude_bottle.errors import BottleError
from claude_bottle.keeper.looking import Looking
from claude_bottle.model import events
from claude_bottle.state import host_edits, host_note
from claude_bottle.state.marker import marker

if TYPE_CHECKING:
    from collections.abc import Callable

    from claude_bottle.keeper.boot import Booted
    from claude_bottle.keeper.order import Order
    from claude_bottle.state.layers import Layers

_NAMED = 20


class HostWatch:
    """`stand` sets what the titles of attached terminals say while nothing else does. `finish` before the settlement looks
    itself."""

    def __init__(self, order: Order, booted: Booted, begun: Layers, stand: Callable[[str], None]) -> None:
        self._order, self._booted, self._begun, self._stand = order, booted, begun, stand
        self._known: list[str] | None = None
        host_note.forget(order.paths, order.identity)
        self._looking = Looking(booted, self._look, self._heard, "changes of the host could not be looked for")

    def finish(self) -> None:
        self._looking.finish()

    def _look(self) -> list[str]:
        return host_edits.unlike(self._begun, host_edits.edited(self._begun, note=True))

    def _heard(self, seen: object) -> None:
        if isinstance(seen, list):
            self._tell(seen)

    def _tell(self, changed: list[str]) -> None:
        if changed == (self._known or []):
            self._known = changed
            return
        # What was changed before a resumption, its plan has said.
        said_before = self._known is None and self._order.former is not None
        new = [] if said_before else sorted(set(changed) - set(self._known or ()))
        self._known = changed
        try:
            host_note.save(self._order.paths, self._order.identity, changed)
        except BottleError as problem:
            self._booted.audit.problem(problem)
        if new:
            self._booted.audit.record(events.HOST_EDITS, count=len(changed), paths=new[:_NAMED])
        self._stand(self._title(changed) if changed else "")

    def _title(self, changed: list[str]) -> str:
        try:
            head = f"◆ {marker(self._order.paths)} · "
        except BottleError:
            head = ""  # damaged, which is told where a request waits
        return f"{head}{self._order.identity}: changed on the host below it: {host_edits.shown(changed)}"
