"""What the agent reads: what was decided about its request, and what it may do now. Ours or sanitised, at most TEXT_LIMIT
characters; nothing of the host, no secret. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from claude_bottle.model.changes import BudgetChange, CapabilityChange, CredentialChange, EgressChange, MoneyChange
from claude_bottle.model.push_change import PushChange
from claude_bottle.model.requests import APPLIED, APPROVED, ONCE, SESSION, SUBMITTED, UNTIL
from claude_bottle.redact import printable
from claude_bottle.supervise.render import lines

if TYPE_CHECKING:
    from claude_bottle.model.changes import Change
    from claude_bottle.model.credentials import BoundCredential
    from claude_bottle.model.requests import Request

TEXT_LIMIT = 4000
_SCOPES = {ONCE: "for one use", SESSION: "until this bottle ends"}


def text(request: Request, bound: BoundCredential | None = None) -> str:
    """About a request as it stands. `bound`: the credential it was for, once it is there."""
    change = request.approved or request.change
    if request.state == SUBMITTED:
        said = f"{request.id} waits for the operator's decision."
    elif request.state == APPROVED:
        said = f"{request.id} is approved and is being brought into force."
    elif request.state == APPLIED:
        said = _granted(request, change, bound)
    else:
        said = f"{request.id} is {request.state}" + (f": {request.outcome}" if request.outcome else ".")
    return bounded(said)


def note(request: Request) -> str:
    """What the conversation goes on with once the bottle has booted again with a tool."""
    change = request.approved or request.change
    what = change.capability.describe() if isinstance(change, CapabilityChange) else change.kind
    return bounded(f"The operator granted {request.id}: {what}. It is installed, and this bottle has been started again with "
                   "it: programs that ran have ended, your files are as they were. Go on with your work.")  # fmt: skip


def bounded(said: str) -> str:
    said = printable(said, keep_newlines=True)
    return said if len(said) <= TEXT_LIMIT else said[: TEXT_LIMIT - 1] + "…"


def _granted(request: Request, change: Change, bound: BoundCredential | None) -> str:
    narrower = " The operator granted less than you asked for; this is all of it:" if request.approved else ""
    said = [f"{request.id} is granted {_scope(request)}.{narrower}", *(line.rstrip() for line in lines(change))]
    if isinstance(change, CredentialChange) and bound is not None:
        header = bound.spec.fill(bound.placeholder)
        said += [
            f"Send this header to {change.rule.host}: {bound.spec.header}: {header}",
            f"{bound.placeholder} is a placeholder: the gate puts the real value in its place, there and nowhere else.",
            f"Programs that run already do not have it in ${bound.spec.env}: set it for those that you start.",
        ]
    elif isinstance(change, CredentialChange | EgressChange):
        said.append("It is in force now: try again.")
    elif isinstance(change, PushChange):
        said.append("Push the same commits again: now they pass.")
    elif isinstance(change, BudgetChange | MoneyChange):
        said.append("It counts from now on.")
    elif isinstance(change, CapabilityChange):
        said.append("It is installed.")
    return "\n".join(said)


def _scope(request: Request) -> str:
    if request.scope == UNTIL:
        return f"until {request.until}"
    return _SCOPES.get(request.scope, "for this agent")
