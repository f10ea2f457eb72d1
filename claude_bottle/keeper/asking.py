"""What a gate passes on from its bottle's agent: requests, uses, and that a policy is in force.

A gate may have been taken over by what it reads, so everything here is checked as if the agent itself had written it: types,
sizes, floors, rate. What is refused is answered at once and costs nothing; nothing a gate says decides anything. May touch
nothing but `Requests`.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from claude_bottle.errors import BottleError
from claude_bottle.keeper.leases import boottime
from claude_bottle.model import events
from claude_bottle.model.changes import BudgetChange, CapabilityChange, MoneyChange
from claude_bottle.model.requests import APPLIED, MAX_REASON, ONCE, REJECTED, Request, new_request_id
from claude_bottle.state.record import timestamp
from claude_bottle.supervise import rulefile
from claude_bottle.supervise.composition import granted_already, granted_bytes
from claude_bottle.supervise.decision import Decision
from claude_bottle.supervise.intake import EVERY_SECONDS, Rate, change_of
from claude_bottle.supervise.wording import bounded

if TYPE_CHECKING:
    from claude_bottle.keeper.gate_link import Message
    from claude_bottle.keeper.inbox import Requests
    from claude_bottle.model.changes import Change

_TICKET = re.compile(r"t-[0-9a-f]{1,64}")
_VIAS = ("mcp", "http")
_NOTE_SECONDS = 60.0


class Asking:
    """The gate's side of one bottle's requests."""

    def __init__(self, requests: Requests) -> None:
        self._requests = requests
        self._rate = Rate(boottime)
        self._entries = tuple(map(rulefile.Entry.from_dict, requests.order.plan.approvals))
        self._used: set[int] = set()
        self._noted = -_NOTE_SECONDS

    def heard(self, message: Message) -> bool:
        """Whether this message of the gate was one of ours."""
        match message.get("op"):
            case "ask":
                self._ask(message)
            case "used":
                self._requests.granting.used(message.get("grant"))
            case "policy_set":
                self._requests.granting.line.heard(message.get("revision"))
            case "policy_refused":
                self._requests.granting.line.refused(message.get("revision"), message.get("why"))
            case _:
                return False
        return True

    def _ask(self, message: Message) -> None:
        ticket, reason, via = (message.get(key) for key in ("ticket", "reason", "via"))
        if not isinstance(ticket, str) or not _TICKET.fullmatch(ticket):
            self._requests.booted.audit.fault("the gate asked in a way that no gate does")
            return
        words = reason[:MAX_REASON] if isinstance(reason, str) else ""
        try:
            change = change_of(message.get("change"), self._requests.operator_named())
            self._take(ticket, change, words, via if via in _VIAS else "http")
        except BottleError as problem:
            self._answer(ticket, "", REJECTED, f"{problem.what}: {problem.why}" if problem.why else problem.what)

    def _take(self, ticket: str, change: Change, reason: str, via: object) -> None:
        """BottleError, in words for the agent, when it is not taken."""
        requests = self._requests
        inbox, plan = requests.inbox, requests.order.plan.egress
        same = inbox.equal_to(change)
        if same is not None:
            self._answer(ticket, same.id, same.state, requests.text(same))
            return
        if isinstance(change, BudgetChange) and requests.granting.budget is None:
            raise BottleError("this bottle has no budget of bytes", why="nothing bounds what it sends")
        if isinstance(change, MoneyChange) and requests.granting.money is None:
            raise BottleError("this bottle has no budget of money", why="nothing bounds what it spends")
        if isinstance(change, CapabilityChange) and requests.order.plan.has(change.capability):
            self._answer(ticket, "", APPLIED, "It is installed already.")
            return
        if granted_already(plan, inbox.in_force, change):
            self._answer_again(ticket, change)
            return
        if problems := requests.granting.problems(change):
            raise BottleError("this contradicts what is granted already", why="; ".join(problems))
        if not self._rate.allow():
            self._note_flood()
            raise BottleError("too many requests", why=f"one in {EVERY_SECONDS:g} seconds is taken; wait, then ask again")
        request = Request(new_request_id(), inbox.bottle, inbox.launch, change, reason, str(via), timestamp())
        requests.submit(request)
        self._answer(ticket, request.id, request.state, requests.text(request))
        self._decide_by_file(request)

    def _answer_again(self, ticket: str, change: Change) -> None:
        """What is granted already is said once more, with its placeholder if there is one."""
        inbox = self._requests.inbox
        for grant in inbox.in_force:
            request = inbox.find(grant.request)
            if request is not None and granted_already((), (grant,), change):
                self._answer(ticket, request.id, request.state, self._requests.text(request))
                return
        self._answer(ticket, "", APPLIED, "This is granted already: try it.")

    def _answer(self, ticket: str, request: str, state: str, text: str) -> None:
        gate = self._requests.booted.gate
        if gate and gate.up:
            gate.tell("request", ticket=ticket, id=request, state=state, text=bounded(text))

    def _note_flood(self) -> None:
        """What is turned away is counted in the journal now and then, never line by line."""
        if boottime() - self._noted >= _NOTE_SECONDS:
            self._noted = boottime()
            self._requests.booted.audit.record(events.ASKED, refused="too many requests", count=self._rate.take_refused())

    def _decide_by_file(self, request: Request) -> None:
        """What the operator approved beforehand (`--approvals`), as it is written there, or not at all."""
        requests = self._requests
        found = rulefile.covering(self._entries, request.change, self._used, granted_bytes(requests.inbox.grants))
        if not found:
            return
        scope = self._entries[found[0]].scope
        by = f"the file of approvals, entry {', '.join(str(index + 1) for index in found)}"
        decision = Decision(request.id, request.hash, requests.inbox.revision, scope, by=by)
        try:
            requests.granting.approve(decision, lambda _request: None, requests.booted.audit.problem)
        except BottleError as problem:  # it waits for the operator, like any other
            requests.booted.audit.fault("the file of approvals could not be followed", id=request.id, why=problem.what)
            return
        if scope == ONCE:
            self._used.update(found)
