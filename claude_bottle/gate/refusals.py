"""What of all that is refused goes to the journal: all while it is little, of a flood a part, and the count of the rest.

A bottle can be refused as often as it likes, and the host's disk is not its own. Names are recorded once per period; what is
left out, of either kind, is told by reason in one note, at the latest a little after the flood.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from claude_bottle.gate import limits
from claude_bottle.gate.decide import new_id
from claude_bottle.model import events
from claude_bottle.model.policy import HOST_NOT_GRANTED

if TYPE_CHECKING:
    from collections.abc import Callable

    from claude_bottle.gate.loop import Loop


class Refusals:
    """`record` writes one event to the journal."""

    def __init__(self, loop: Loop, record: Callable[[str, dict[str, object]], None]) -> None:
        self._loop, self._record = loop, record
        self._room, self._filled = float(limits.REFUSALS), loop.now
        self._names: set[str] = set()
        self._since = loop.now
        self._left_out: dict[str, int] = {}

    def admit(self, kind: str, data: dict[str, object]) -> bool:
        """Whether this event is to be recorded by itself; a refusal that is not is counted."""
        if kind != events.DECISION or data.get("allow") is not False:
            return True
        now = self._loop.now
        self._room = min(float(limits.REFUSALS), self._room + (now - self._filled) / limits.REFUSALS_EVERY)
        self._filled = now
        if self._room < 1:
            self._leave_out(str(data.get("reason")))
            return False
        self._room -= 1
        return True

    def name(self, name: str) -> None:
        """A name that was asked for and is not granted."""
        if self._loop.now - self._since > limits.DNS_DENIALS_WITHIN:
            self._names.clear()
            self._since = self._loop.now
        if name in self._names:
            return
        if len(self._names) >= limits.DNS_DENIALS:
            self._leave_out("name")
            return
        self._names.add(name)
        self._record(events.DNS, {"id": new_id(), "name": name[:253], "allow": False, "reason": HOST_NOT_GRANTED})

    def tell(self) -> None:
        """Record how many were left out since this was last told."""
        if self._left_out:
            reasons, self._left_out = self._left_out, {}
            self._record(events.NOTE, {"what": "refusals were not recorded one by one: too many at once",
                                       "count": sum(reasons.values()), "reasons": reasons})  # fmt: skip

    def _leave_out(self, reason: str) -> None:
        if not self._left_out:
            self._loop.after(limits.REFUSALS_TOLD, self.tell)
        self._left_out[reason] = self._left_out.get(reason, 0) + 1
