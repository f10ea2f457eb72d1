"""How what is approved comes into force, and how it ends: ports, secrets, the policy that the gate confirms.

Each step is written by `Requests` before it is done. What cannot be confirmed by the gate did not happen: it is taken back,
and where even that is not confirmed the gate is ended, for a bottle without network is safe. May touch the gate's control
line and the bottle's ports, and read the operator's credentials.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from claude_bottle.errors import BottleError
from claude_bottle.keeper.policy_line import PolicyLine
from claude_bottle.keeper.vault import Vault
from claude_bottle.model import events
from claude_bottle.model.changes import CapabilityChange, CredentialChange
from claude_bottle.model.prices import MICROS
from claude_bottle.model.requests import APPROVED, ONCE, UNTIL, Grant, Request, new_grant_id
from claude_bottle.redact import printable
from claude_bottle.state.record import timestamp
from claude_bottle.supervise import composition, decision, wording
from claude_bottle.supervise.render import lines
from claude_bottle.values import replace

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from claude_bottle.keeper.boot import Booted
    from claude_bottle.keeper.inbox import Requests
    from claude_bottle.keeper.order import Order
    from claude_bottle.keeper.policy_line import Done
    from claude_bottle.model.changes import Change
    from claude_bottle.model.credentials import CredentialSpec, Secret
    from claude_bottle.model.plan import BottlePlan
    from claude_bottle.model.policy import Rule
    from claude_bottle.supervise.decision import Decision

    Told = Callable[[Request], None]
    Refused = Callable[[BottleError], None]

MAX_IN_FORCE = 64
USED = "used"
_WHY = 2000  # of why something failed: its end, where a build says what went wrong


class Granting:
    """The carrying out for one `Requests`."""

    def __init__(self, requests: Requests) -> None:
        self._requests = requests
        self.vault = Vault(requests.order, requests.booted)
        self.line = PolicyLine(requests.booted, self.vault, requests.order.ports)
        self._coming: dict[str, Grant] = {}

    def close(self) -> None:
        self.vault.close()

    def renew(self, order: Order, booted: Booted) -> None:
        """The bottle has booted again, with what `amended` put into its order: all that was to come is in force."""
        self.vault.renew(order, booted)
        self.line.renew(booted, order.ports)

    def amended(self, order: Order) -> Order:
        """The order of the bottle's next life with what is granted: rules, ports, credentials and their placeholders."""
        if order.gate is None:
            return order
        grants = (*self._requests.inbox.in_force, *self.coming)
        rules = composition.compose(order.plan.egress, grants)
        bound = self.vault.current(rules)
        total, money = self._bounds(grants)
        return replace(
            order, gate=replace(order.gate, rules=rules, credentials=bound, egress_bytes=total, money=money),
            ports=composition.new_ports(rules, ()), env={**order.env, **{one.spec.env: one.placeholder for one in bound}},
        )  # fmt: skip

    @property
    def _booted(self) -> Booted:
        return self._requests.booted

    @property
    def _plan(self) -> BottlePlan:
        return self._requests.order.plan

    @property
    def coming(self) -> tuple[Grant, ...]:
        """What is approved and not in force yet."""
        return tuple(self._coming.values())

    @property
    def rules(self) -> tuple[Rule, ...]:
        """All that is in force."""
        return composition.compose(self._plan.egress, self._requests.inbox.in_force)

    @property
    def budget(self) -> int | None:
        """The bytes that the plan alone lets out, None where nobody counts."""
        found = self._plan.budget.get("egress_bytes")
        return found if type(found) is int else None

    @property
    def money(self) -> int | None:
        """What the plan alone lets it spend, in millionths of a dollar, None where there is no bound."""
        found = self._plan.budget.get("usd")
        return round(found * MICROS) if isinstance(found, int | float) else None

    def _bounds(self, grants: Sequence[Grant]) -> tuple[int | None, int | None]:
        """The bytes and the money that it may spend in all with these grants."""
        total = None if self.budget is None else self.budget + composition.granted_bytes(grants)
        return total, None if self.money is None else self.money + composition.granted_money(grants)

    def problems(self, change: Change) -> list[str]:
        return composition.problems(self._plan.egress, (*self._requests.inbox.in_force, *self.coming), change)

    def checked(self, wanted: Decision) -> Request:
        """The request that may be approved so, now. BottleError when nothing may."""
        found = decision.check(self._requests.inbox, wanted)
        if self._booted.audit.halted:
            raise BottleError("nothing can be approved now", why="the journal cannot be written",
                              do="free some space under the state root")  # fmt: skip
        if problems := self.problems(wanted.change or found.change):
            raise BottleError("this contradicts what is granted already", why="\n".join(problems),
                              do="reject it, or revoke what it contradicts (claude-bottle grants)")  # fmt: skip
        if len(self._requests.inbox.in_force) + len(self._coming) >= MAX_IN_FORCE:
            raise BottleError("too many grants are in force", why=f"a bottle has at most {MAX_IN_FORCE}",
                              do="revoke some (claude-bottle grants)")  # fmt: skip
        return found

    def approve(self, wanted: Decision, told: Told, refused: Refused) -> None:
        """Approve and carry out. `told` hears of it when it is approved, and again when it is applied or has failed;
        `refused` when nothing comes of it because a credential has no value. BottleError when it may not be approved."""
        found = self.checked(wanted)
        change = wanted.change or found.change
        spec = None
        if isinstance(change, CredentialChange):
            spec = self.vault.find(wanted.credential or change.name, change.name)
        if spec is None:
            self._approve(wanted, None, told)
            return

        def got(secret: Secret) -> None:
            try:
                self.checked(wanted)  # it took a while
                self._approve(wanted, (spec, secret), told)
            except BottleError as problem:
                refused(problem)

        self.vault.read(spec, got, refused)

    def revoke(self, grant: str, done: Done) -> None:
        """End it at once. `done` hears when the gate has cut what it allowed."""
        found = self._requests.inbox.grant(grant)
        if found is None or found.ended:
            why = printable(found.ended) if found else ""
            do = "claude-bottle grants lists them"
            raise BottleError(f"no grant {printable(grant, width=40)} is in force", why=why, do=do)
        if isinstance(found.change, CapabilityChange):
            raise BottleError("a tool cannot be taken out of a bottle", why="it is in the layers that it runs on",
                              do="start another bottle without it")  # fmt: skip
        self.end({grant: "revoked by the operator"}, done)

    def end(self, ended: dict[str, str], done: Done | None = None) -> None:
        """Grants that are over now, each with why, whether or not it can be written."""
        self._requests.keep_surely(self._requests.inbox.end_grants(ended))
        for grant, why in ended.items():
            self._requests.leases.forget(grant)
            self._booted.audit.record(events.GRANT_ENDED, durable=True, grant=grant, why=why)
        self._put(lambda why: self._surely(why, done), revoked=[one for one, why in ended.items() if why != USED])
        self._requests.changed(None)

    def used(self, grant: object) -> None:
        """The one use of a `once` grant is over. The gate has taken it out already; it hears the whole policy again."""
        found = self._requests.inbox.grant(grant) if isinstance(grant, str) else None
        if found is not None and found.scope == ONCE and not found.ended:
            self.end({found.id: USED})

    def _approve(self, wanted: Decision, value: tuple[CredentialSpec, Secret] | None, told: Told) -> None:
        grant = new_grant_id()
        self._requests.keep(self._requests.inbox.approve(wanted, grant, timestamp()))
        self._requests.leases.forget(wanted.request)
        if wanted.scope == UNTIL:
            self._requests.leases.until(grant, wanted.until)
        self._booted.audit.record(events.DECIDED, durable=True, id=wanted.request, decision="approved", by=wanted.by,
                                 scope=wanted.scope, until=wanted.until, hash=wanted.hash)  # fmt: skip
        found = self._requests.changed(wanted.request)
        told(found)
        self._apply(found, value, told)

    def _apply(self, request: Request, value: tuple[CredentialSpec, Secret] | None, told: Told) -> None:
        change = request.approved or request.change
        self._coming[request.id] = Grant(request.grant, request.id, change, request.scope, "", credential=request.credential)
        if isinstance(change, CapabilityChange):
            self._build(request, change, told)
            return
        if value is not None and isinstance(change, CredentialChange):
            self.vault.add(*value, (change.rule.host, change.rule.port))
        try:
            self.line.listen(composition.new_ports(composition.rules_of(change), self.line.ports))
        except BottleError as problem:
            self._failed(request.id, f"{problem.what}: {problem.why}", told)
            return
        self._put(lambda why: self._failed(request.id, why, told) if why else self._applied(request.id, told))

    def _build(self, request: Request, change: CapabilityChange, told: Told) -> None:
        """A tool: the bottle is booted again with it, and its conversation goes on with our note."""
        from claude_bottle.keeper.reboot_contract import FAILED, NOTE_LIMIT, Approved, Outcome

        def done(outcome: Outcome) -> None:
            if outcome.how == FAILED:
                self._failed(request.id, outcome.why, told)
            else:
                self._applied(request.id, told)

        note = wording.note(request)[:NOTE_LIMIT]
        progress = partial(self._requests.progressed, request.id)
        self._requests.rebooter.apply(Approved(request.id, change.capability, note), done, progress)

    def build_again(self, request: str) -> None:
        """A tool that was approved before the bottle ended. What its record has is applied; else it is built now."""
        found = self._requests.inbox.find(request)
        if found is not None and found.state == APPROVED:
            self._apply(found, None, lambda _request: None)

    def _applied(self, request: str, told: Told) -> None:
        coming = self._coming.pop(request)
        try:
            self._requests.keep(self._requests.inbox.applied(request, "in force", timestamp()))
        except BottleError as problem:
            self._failed(request, f"it could not be recorded: {problem.what}", told)
            return
        self._booted.audit.record(events.GRANTED, durable=True, grant=coming.id, id=request, scope=coming.scope,
                                 what=lines(coming.change)[:20])  # fmt: skip
        self._requests.look_again()
        told(self._requests.changed(request))

    def _failed(self, request: str, why: str, told: Told) -> None:
        """Whatever the gate has of it by now, it has no longer; if that cannot be made sure, there is no gate."""
        coming = self._coming.pop(request, None)
        self._requests.keep_surely(self._requests.inbox.failed(request, printable(why, keep_newlines=True)[-_WHY:]))
        self._booted.audit.record(events.DECIDED, durable=True, id=request, decision="failed", why=why)
        if coming and coming.rules:
            self._requests.leases.forget(coming.id)
            self._put(lambda problem: self._surely(problem, None))
        told(self._requests.changed(request))

    def _put(self, done: Done, *, revoked: Sequence[str] = ()) -> None:
        grants = (*self._requests.inbox.in_force, *self._coming.values())
        total, money = self._bounds(grants)
        once = [one.id for one in grants if one.scope == ONCE]
        rules = composition.compose(self._plan.egress, grants)
        self.line.put(self._requests.inbox.revision, rules, once, done, revoked=revoked, egress_bytes=total, money=money)

    def _surely(self, why: str, done: Done | None) -> None:
        """What has ended must not go on: a gate that does not say so is ended, and the bottle has no network then."""
        gate = self._booted.gate
        if why and gate and gate.up:
            self._booted.audit.fault("the gate did not take a grant back", why=why, effect="it is ended: no network any more")
            gate.kill()
        if done:
            done(why)
