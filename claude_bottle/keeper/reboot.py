"""Taking a bottle down and booting it again in the same keeper: with an approved capability, or back at a checkpoint.

A capability is built beside the running bottle first.

The order of things is what makes it applied exactly once: built (the agent runs on; a failure changes nothing) → written to
plan and record, from where every later boot has it → conversation archived → agent asked to end → bottle and gate down,
home brought here → another gate, bottle and agent, with a note in the conversation. A crash before the record is no
application, one after it leaves an interrupted bottle that `resume` continues with the layer. See `reboot_contract`, and
`rewinding` for the way back.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from claude_bottle.errors import BottleError
from claude_bottle.keeper import settle
from claude_bottle.keeper.building import Building
from claude_bottle.keeper.next_life import next_order, reopened, take_down
from claude_bottle.keeper.reboot_contract import (
    APPLIED,
    FAILED,
    PRESERVED,
    Amend,
    Approved,
    Outcome,
    Progress,
    Told,
)
from claude_bottle.model import events

if TYPE_CHECKING:
    from claude_bottle.keeper.boot import Booted
    from claude_bottle.keeper.main import Keeper
    from claude_bottle.keeper.order import Order, Pipes
    from claude_bottle.keeper.rewinding import Rewinding
    from claude_bottle.model.plan import BottlePlan

CAPABILITY = "capability"
# For an agent that has been asked to end because its bottle boots again; its conversation is on disk all the while.
GRACE_SECONDS = 3.0


class _Wanted:
    """One approval under way."""

    def __init__(self, approved: Approved, told: Told, progress: Progress) -> None:
        self.approved, self._told, self.progress = approved, told, progress

    def tell(self, how: str, why: str = "") -> None:
        told, self._told = self._told, lambda _outcome: None
        told(Outcome(how, why))


class Rebooter:
    """See `Reboots`. Made by the keeper, which calls `reboot` when its loop has stopped and `due` is set, and `give_up`
    before it settles."""

    def __init__(self, keeper: Keeper) -> None:
        self._keeper = keeper
        self.amend: list[Amend] = []
        self._waiting: list[_Wanted] = []
        self._built: list[_Wanted] = []
        self._building: Building | None = None
        self._plan: BottlePlan = keeper.order.plan
        self._pipes: Pipes | None = None
        self._rewinding: Rewinding | None = None
        self.due = False

    @property
    def busy(self) -> str:
        if self._rewinding:
            return self._rewinding.described
        if self.due:
            return f"booting again with {', '.join(one.approved.capability.describe() for one in self._built)}"
        if self._building:
            return f"building {self._waiting[0].approved.capability.describe()}"
        return ""

    @property
    def notice(self) -> str:
        """For attached terminals, between two lives of the bottle."""
        return f"claude-bottle: {self.busy}; the session goes on in a moment"

    def apply(self, approved: Approved, told: Told, progress: Progress) -> None:
        wanted = _Wanted(approved, told, progress)
        if self._keeper.order.plan.has(approved.capability):
            self._keeper.booted.loop.later(0, lambda: wanted.tell(APPLIED))
        else:
            self._waiting.append(wanted)
            if self._building is None and not self.due:
                self._next()

    def rewind(self, to: Rewinding) -> None:
        """Go back to a checkpoint. BottleError while something else is under way."""
        keeper = self._keeper
        if self.busy:
            raise BottleError(f"{keeper.order.identity} is {self.busy}", do="rewind it when that is done")
        if keeper.booted.terminal is None:
            raise BottleError(f"{keeper.order.identity} has no session that could go on", why="it was started by `run`",
                              do=f"claude-bottle stop --keep {keeper.order.identity}, then rewind it")  # fmt: skip
        if keeper.booted.audit.halted:
            raise BottleError("the journal cannot be written", why="nothing may change unrecorded")
        self._rewinding = to
        keeper.booted.audit.record(events.REBOOTING, durable=True, to=to.to.name)
        self._end_this_life()

    def reboot(self) -> None:
        """The agent has ended as asked: take everything down and boot again. BottleError when it does not come up: the
        bottle is down then, its home is here, and the keeper settles."""
        keeper, granted, back = self._keeper, list(self._built), self._rewinding
        take_down(keeper)
        if back:
            back.carry_out(keeper.order, keeper.booted)
        note = "\n\n".join(one.approved.note for one in granted)
        order = next_order(keeper, self._plan, note, self._pipes, self.amend, silent=back is not None)
        keeper.begin_again(order)
        self.due, self._built, self._rewinding = False, [], None
        for one in granted:
            one.tell(APPLIED)
        if back:
            back.done()
        if self._waiting:
            self._next()

    def give_up(self, why: str) -> None:
        """The session ends: what is not built never will be by us, what is recorded is there for `resume`."""
        if self._building:
            self._building.abandon()
            self._building = None
        for one in self._waiting:
            self._fail(one, why)
        for one in self._built:
            if self.due:
                one.tell(PRESERVED, why)
            else:
                self._fail(one, why)
        if self._rewinding:
            self._rewinding.failed(self._keeper.order.identity, why)
        self._waiting, self._built, self._rewinding = [], [], None

    def _next(self) -> None:
        """Build the first that waits on top of what has been built."""
        wanted = self._waiting[0]
        if self._plan.has(wanted.approved.capability):
            self._built_now(None)  # asked for twice
            return
        order, plan, capability = self._keeper.order, self._plan, wanted.approved.capability
        outlet = order.outlet
        try:
            if outlet is None:
                raise BottleError("this bottle was started without a way to build anything")
            self._record(wanted, "building")
            self._building = Building(
                self._keeper.booted.loop,
                lambda progress, outlet: order.backend.build_layer(plan, capability, progress, outlet), outlet,
                wanted.progress, lambda said: self._record(wanted, "refused", why=said), self._built_now,
            )  # fmt: skip
        except BottleError as problem:
            self._built_now(problem)
        except OSError as problem:
            self._built_now(BottleError("no build can be begun", why=str(problem)))

    def _built_now(self, problem: BottleError | None) -> None:
        self._building = None
        wanted = self._waiting.pop(0)
        if problem is None:
            try:
                if not self._plan.has(wanted.approved.capability):
                    self._plan = self._keeper.order.backend.with_layer(self._plan, wanted.approved.capability)
                self._built.append(wanted)
                self._record(wanted, "built")
            except BottleError as refused:
                problem = refused
        if problem is not None:
            self._fail(wanted, "\n".join(filter(None, (problem.what, problem.why))))
        if self._waiting:
            self._next()
        elif self._built:
            self._begin()

    def _begin(self) -> None:
        """Everything wanted is built: from the record on, the bottle has it."""
        keeper = self._keeper
        try:
            if keeper.booted.audit.halted:
                raise BottleError("the journal cannot be written", why="nothing may change unrecorded")
            self._commit(keeper.order, keeper.booted)
        except (BottleError, OSError) as problem:
            self._plan = keeper.order.plan
            for one in self._built:
                self._fail(one, str(problem))
            self._built = []
            return
        self._pipes = reopened(keeper.order, keeper.clients.outputs)
        keeper.booted.audit.record(events.REBOOTING, durable=True, layers=[layer.name for layer in self._plan.layers])
        self._end_this_life()

    def _end_this_life(self) -> None:
        """Ask the agent to end; the keeper then calls `reboot`."""
        keeper, self.due = self._keeper, True
        try:
            settle.snapshot(keeper.order, keeper.booted)
        except Exception as problem:  # its home is brought here once it is down
            keeper.booted.audit.fault("the conversation could not be archived", why=str(problem))
        keeper.clients.broadcast({"op": "rebooting", "busy": self.busy})
        keeper.end_agent(GRACE_SECONDS)

    def _commit(self, order: Order, booted: Booted) -> None:
        """The plan first: a record without the layer makes it narrower than that, which nobody needs to be asked about."""
        from claude_bottle.state.files import write_atomic

        write_atomic(order.paths.plan(order.identity), json.dumps(self._plan.to_dict(), indent=2).encode())
        record = booted.store.load(order.identity)
        capabilities = tuple(one.approved.capability for one in self._built)
        fresh = [one for one in dict.fromkeys(capabilities) if one not in record.layers]
        booted.store.update(order.identity, layers=(*record.layers, *fresh), plan_digest=self._plan.digest,
                            preserved=tuple(dict.fromkeys((*record.preserved, CAPABILITY))))  # fmt: skip
        for one in self._built:
            self._record(one, "added")

    def _fail(self, wanted: _Wanted, why: str) -> None:
        self._record(wanted, "failed", why=why[:2000])
        wanted.tell(FAILED, why)

    def _record(self, wanted: _Wanted, state: str, **more: object) -> None:
        data = {"request": wanted.approved.request, "capability": wanted.approved.capability.to_dict(), **more}
        self._keeper.clients.broadcast({"op": "layer", "state": state, "capability": wanted.approved.capability.describe()})
        self._keeper.booted.audit.record(events.LAYER, durable=state in ("added", "failed"), state=state, **data)
