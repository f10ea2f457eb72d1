"""What becomes of a bottle when its agent has ended: the table of contract §2.

Exit 0 is cleaned up once its conversation is archived; everything else is preserved with a reason: another exit code, a
signal, `stop` of an agent that did not end with 0 (`stopped (…)`: stopping loses nothing), `--keep` (`operator`), a
conversation that could not be archived, a keeper that failed or was killed. Whatever goes wrong here preserves.
"""

from __future__ import annotations

import signal
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from claude_bottle.backend.tree import left_out
from claude_bottle.errors import BottleError
from claude_bottle.keeper import live_work, workspaces
from claude_bottle.keeper.gate_events import record_gate_event
from claude_bottle.keeper.reasons import reason_of
from claude_bottle.model import events
from claude_bottle.state.work_note import UNEXPORTED
from claude_bottle.workspace import opening

if TYPE_CHECKING:
    from claude_bottle.keeper.boot import Booted
    from claude_bottle.keeper.order import Order
    from claude_bottle.state.record import BottleRecord

KEPT_OUT = "written to places that are held out of the live workspace"
OPERATOR, INTERRUPTED, WORK, CHECKPOINTS = "operator", "interrupted", UNEXPORTED, "checkpoints"
AWAY = "its home could not be brought here"
_NAMED = 20


class Settled(NamedTuple):
    """The end of a session. `preserved` is empty when the state is gone; `warnings` are one line each."""

    identity: str
    code: int
    preserved: tuple[str, ...]
    transcript: str | None
    warnings: tuple[str, ...]

    def to_dict(self) -> dict[str, object]:
        return {"identity": self.identity, "code": self.code, "preserved": list(self.preserved),
                "transcript": self.transcript, "warnings": list(self.warnings)}  # fmt: skip


class Settlement:
    """Settles one bottle. `reasons` are those known beforehand (`operator`, a failed keeper)."""

    def __init__(self, order: Order, booted: Booted, code: int, *, stopped: bool, reasons: tuple[str, ...]) -> None:
        self._order, self._booted, self._code = order, booted, code
        self._starved = code == 128 + signal.SIGKILL and booted.bottle.out_of_memory()
        own = reason_of(code, stopped, starved=self._starved)
        self._reasons = [*reasons, *([own] if own else [])]
        self._warnings: list[str] = []
        self._transcript: str | None = None

    def run(self) -> Settled:
        """Steps 8 and 9. Never raises: what fails is a warning, and a reason to preserve."""
        identity, booted = self._order.identity, self._booted
        cause: dict[str, Any] = {"why": "out of memory"} if self._starved else {}
        booted.audit.record(events.AGENT_EXITED, code=self._code, **cause)
        self._try("the end could not be noted at once", self._note_settling, preserves=False)
        self._archive(events.SNAPSHOT)
        self._try("the bottle could not be taken down", booted.bottle.close)
        booted.audit.record(events.BOTTLE_DOWN)
        if booted.gate:
            self._try("the gate could not be ended", self._end_gate)
        # Programs the agent left behind could write until the bottle was gone.
        self._archive(events.ARCHIVED)
        # Every reason to preserve is known before its place is let go; a container is being removed meanwhile.
        self._try("its checkpoints could not be looked at", self._keep_checkpoints)
        self._try("changes of the host could not be looked for", self._note_edits, preserves=False)
        self._leave_live_work()
        self._try("the journal is not complete", self._complete_journal)
        self._bring_home()
        self._journal_outcome()
        self._try("the journal could not be completed", booted.journal.close)
        if not self._reasons:
            self._try("the state could not be removed", lambda: booted.store.cleanup(identity))
        if self._reasons:
            self._try("the record could not be completed", self._note_preserved)
        return Settled(identity, self._code, tuple(self._reasons), self._transcript, tuple(self._warnings))

    def finish_down(self) -> Settled:
        """The rest of it, for a bottle that has been taken down and did not come up again: what it left lies here. There
        is a reason to preserve it, which is that."""
        self._archive_here()
        self._leave_live_work()
        self._try("the journal is not complete", self._complete_journal)
        self._merged()
        self._journal_outcome()
        self._try("the journal could not be completed", self._booted.journal.close)
        self._try("the record could not be completed", self._note_preserved)
        return Settled(self._order.identity, self._code, tuple(self._reasons), self._transcript, tuple(self._warnings))

    def _archive_here(self) -> None:
        def archive() -> None:
            path = archive_home(self._order, self._booted)
            self._transcript = str(path) if path else None

        self._try("the conversation could not be archived", archive)

    def _bring_home(self) -> None:
        """What is preserved must lie here, whatever becomes of the place it ran in; until it does, that place keeps it."""
        bottle, before, left = self._booted.bottle, len(self._warnings), list[str]()
        # A later plan (`resume` without `--cwd`) changes nothing about what it began with.
        working = self._order.plan.workspace.private or opening.has_work(self._order.paths, self._order.identity)
        if self._reasons or working:
            self._try(AWAY, lambda: left.extend(bottle.fetch_home()))
        if working:
            self._try("its work could not be compared", self._judge_work)
        if len(self._warnings) == before:
            self._try("what it left outside could not be removed", bottle.release)
        self._try("the bottle could not be let go", self._booted.sandbox.close)
        if left:  # no reason to keep the rest from whoever wants it
            self._warnings.append(left_out(left))
            self._booted.audit.fault(self._warnings[-1])

    def _judge_work(self) -> None:
        """What the bottle made of the operator's directory is kept: nobody has seen it yet."""
        if opening.judge(self._order.paths, self._order.identity):
            self._reasons.append(WORK)

    def _keep_checkpoints(self) -> None:
        """Whoever asked for one means to come back to it."""
        from claude_bottle.state import checkpoints

        if checkpoints.asked_for(self._order.paths, self._order.identity):
            self._reasons.append(CHECKPOINTS)

    def _note_edits(self) -> None:
        """What the host changed below a layer of the bottle's: said, since the bottle has seen some of it."""
        changed, words = workspaces.changed_below(self._order)
        if changed:
            self._warnings.append(words)
            self._booted.audit.record(events.HOST_EDITS, count=len(changed), paths=changed[:_NAMED])

    def _leave_live_work(self) -> None:
        self._try("what changed in the live workspace could not be looked for", self._note_triggers)
        self._try("what held places in the workspace could not be removed",
                  lambda: live_work.let_go(self._order.paths, self._order.identity))  # fmt: skip

    def _note_triggers(self) -> None:
        """What would run on the host and was changed in a live workspace, and what the agent wrote that is not in it."""
        changed, lines = live_work.to_tell(self._order.paths, self._order.identity)
        self._warnings += lines
        if changed:
            self._booted.audit.record(events.LIVE_TRIGGERS, changed=changed)
        live_work.told(self._order.paths, self._order.identity)
        if inside := live_work.left_inside(self._order.paths, self._order.identity):
            self._reasons.append(f"{KEPT_OUT}: {', '.join(inside)}")

    def _note_settling(self) -> None:
        """While the bottle is alive: from here on a crash finds the reasons on disk. Without any there is nothing to
        note: a crash before the cleanup leaves an interrupted bottle, which is preserved too."""
        from claude_bottle.state.record import SETTLING, timestamp

        reasons = self._merged()
        if reasons:
            self._booted.store.update(self._order.identity, status=SETTLING, ended=timestamp(), exit_code=self._code,
                                      preserved=reasons)  # fmt: skip

    def _note_preserved(self) -> None:
        from claude_bottle.state.record import PRESERVED, timestamp

        store = self._booted.store
        ended = store.load(self._order.identity).ended or timestamp()
        store.update(self._order.identity, status=PRESERVED, preserved=self._merged(), ended=ended, exit_code=self._code,
                     keeper=None, journal=self._booted.journal.head)  # fmt: skip

    def _merged(self) -> tuple[str, ...]:
        """Why it is kept this time; what was said while it ran (`stop --keep`, a granted capability) counts too."""
        known = self._booted.store.load(self._order.identity).preserved
        self._reasons = list(dict.fromkeys((*known, *self._reasons)))
        return tuple(self._reasons)

    def _archive(self, kind: str) -> None:
        before = len(self._warnings)
        self._try("the conversation could not be archived", self._snapshot)
        if len(self._warnings) == before:
            self._booted.audit.record(kind, path=self._transcript)

    def _snapshot(self) -> None:
        path = snapshot(self._order, self._booted)
        self._transcript = str(path) if path else None

    def _end_gate(self) -> None:
        gate = self._booted.gate
        if gate:
            for message in gate.finish():
                record_gate_event(self._booted, message, self._order)
            gate.end()

    def _complete_journal(self) -> None:
        if not self._booted.audit.finish():
            raise BottleError("events could not be recorded", why="the disk of the state root is full or failing")

    def _journal_outcome(self) -> None:
        if self._reasons:
            self._booted.audit.record(events.PRESERVED, durable=True, reasons=self._reasons)
        else:
            self._booted.audit.record(events.SETTLED, code=self._code)

    def _try(self, what: str, step: Callable[[], object], *, preserves: bool = True) -> None:
        """Run one step. A failure is told and `preserves`, and the next step is tried all the same."""
        try:
            step()
        except Exception as problem:
            why = problem.what if isinstance(problem, BottleError) else f"{type(problem).__name__}: {problem}"
            self._warnings.append(f"{what}: {why}")
            if preserves and what not in self._reasons:
                self._reasons.append(what)
            self._booted.audit.fault(what, why=why)


def snapshot(order: Order, booted: Booted) -> object:
    """Fetch the conversation as it is now, and archive it."""
    names = booted.store.load(order.identity).conversation
    if names:
        booted.bottle.fetch_home(names)
    return archive_home(order, booted)


def archive_home(order: Order, booted: Booted) -> object:
    """Archive what the home on this host holds, and note the conversation that the agent is in."""
    path, session = archive(order, booted.store.load(order.identity))
    note_session(order, booted, session)
    return path


def archive(order: Order, record: BottleRecord) -> tuple[object, str]:
    """The one place that archives: where it lies, and the conversation that the agent is in now, which may be another
    than the one it was given. Changes nothing but the archive, so it may run beside the loop."""
    from claude_bottle.state import transcripts

    latest = order.harness.latest_session(order.paths.home(order.identity)) if order.harness.supports_resume else None
    record = record._replace(session_id=latest or record.session_id)
    return transcripts.snapshot(order.paths, record), record.session_id


def note_session(order: Order, booted: Booted, session: str) -> None:
    if session != booted.store.load(order.identity).session_id:
        booted.store.update(order.identity, session_id=session)
