"""The journal as the keeper uses it: what cannot be recorded must not happen.

While the journal cannot be written the gate is halted, so nothing gets out unrecorded; the agent runs on. Writing is
tried again every few seconds, and when it works the journal says how much was not recorded and the gate resumes. How a
bottle ends is recorded all the same, from the journal's reserve of disk space, or else as soon as there is room.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from claude_bottle.model import events

if TYPE_CHECKING:
    from claude_bottle.errors import BottleError
    from claude_bottle.keeper.gate_link import GateLink
    from claude_bottle.keeper.loop import Loop
    from claude_bottle.state.journal import Journal

RETRY_SECONDS = 3.0
# What the reserve is for. Few, and none that a bottle can cause as often as it likes.
_ENDINGS = frozenset({events.STOP_REQUESTED, events.AGENT_EXITED, events.SNAPSHOT, events.BOTTLE_DOWN, events.ARCHIVED,
                      events.PRESERVED, events.SETTLED})  # fmt: skip


class Audit:
    """Records events. `gate` may be None: a bottle without network has nothing to halt."""

    def __init__(self, loop: Loop, journal: Journal, gate: GateLink | None) -> None:
        self._loop, self._journal, self._gate = loop, journal, gate
        self._lost = 0
        self._owed: list[tuple[str, dict[str, object]]] = []
        self.halted = False

    def watch_over(self, gate: GateLink | None) -> None:
        """From now on it is this gate that a failing journal halts: the former one has ended."""
        self._gate = gate
        if gate and self.halted:
            gate.tell("halt")

    def record(self, kind: str, /, *, durable: bool = False, **data: object) -> None:
        """One event. Never raises: a journal that fails halts the gate."""
        if kind not in _ENDINGS:
            if self.halted or not self._write(kind, durable=durable, data=data):
                self._lost += 1
        elif not (self._pay() and self._write(kind, durable=durable, data=data)):
            from claude_bottle.state.record import timestamp

            self._owed.append((kind, {**data, "happened": timestamp()}))

    def fault(self, what: str, **data: object) -> None:
        self.record(events.FAULT, durable=True, what=what, **data)

    def problem(self, problem: BottleError) -> None:
        self.fault(problem.what, why=problem.why)

    def finish(self) -> bool:
        """Before the journal is closed: record what is still owed. Whether all there was to record is recorded."""
        whole = self._lost == 0
        if self.halted:
            self._pay()
            self._note_gap()
        return whole and not self._owed

    def _write(self, kind: str, *, durable: bool, data: dict[str, object]) -> bool:
        """Whether it is in the journal now. A journal with no room for more halts the gate either way."""
        try:
            self._journal.append(kind, durable=durable, **data)
        except Exception as problem:  # whatever it is, what is not recorded must not go on
            self._halt()
            return bool(getattr(problem, "recorded", False))
        return True

    def _pay(self) -> bool:
        """Record what is owed, in order; False when that is not possible yet."""
        while self._owed and self._write(self._owed[0][0], durable=True, data=self._owed[0][1]):
            del self._owed[0]
        return not self._owed

    def _note_gap(self) -> bool:
        note = "the journal could not be written; the gate was halted meanwhile"
        return self._write(events.NOTE, durable=True, data={"note": note, "events_lost": self._lost})

    def _halt(self) -> None:
        if self.halted:
            return
        self.halted = True
        if self._gate:
            self._gate.tell("halt")
        self._loop.later(RETRY_SECONDS, self._retry)

    def _retry(self) -> None:
        try:
            self._journal.make_room()  # or every try would use up some of the reserve
        except Exception:
            self._loop.later(RETRY_SECONDS, self._retry)
            return
        self.halted = False  # whatever fails now halts again
        if self._pay() and self._note_gap():
            self._lost = 0
        if self._gate and not self.halted:
            self._gate.tell("resume")
