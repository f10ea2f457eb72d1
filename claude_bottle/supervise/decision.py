"""One decision of an operator, and whether it is of what was shown.

An approval names the hash of the request and the revision of the policy it was shown with; anything else is refused and
nothing happens, so neither an edited request nor a changed policy, another bottle of the same name nor a second operator
can make it mean something new. What is approved may be narrower than what was asked, never wider. Pure.
"""

from __future__ import annotations

from hmac import compare_digest
from typing import TYPE_CHECKING

from claude_bottle.errors import BottleError
from claude_bottle.model.changes import CapabilityChange, CredentialChange, narrower
from claude_bottle.model.requests import AGENT, OPEN, SCOPES, SUBMITTED, UNTIL, Request
from claude_bottle.redact import printable
from claude_bottle.values import dataclass

if TYPE_CHECKING:
    from claude_bottle.model.changes import Change
    from claude_bottle.supervise.inbox import Inbox

OPERATOR = "operator"
_LOOK_AGAIN = "look again: claude-bottle requests"


@dataclass(frozen=True)
class Decision:
    """An approval. `hash` and `revision`: as shown. `until`: RFC 3339, with the scope UNTIL. `change`: what is approved in
    place of what was asked; None for that. `credential`: which of the operator's, "" for the one of the name asked for.
    `by`: who decided, for the journal."""

    request: str
    hash: str
    revision: int
    scope: str
    until: str = ""
    change: Change | None = None
    credential: str = ""
    by: str = OPERATOR


def check_shown(inbox: Inbox, request: str, shown: str) -> Request:
    """The request that was shown with this hash and waits for a decision. BottleError for anything else."""
    found = inbox.find(request)
    if found is None:
        why = f"{inbox.bottle} knows none of that id"
        raise BottleError(f"no request {printable(request, width=40)}", why=why, do=_LOOK_AGAIN)
    if found.launch != inbox.launch or not compare_digest(found.hash.encode(), shown.encode("utf-8", "replace")):
        raise not_as_shown("it is another one, or of another launch of this bottle")
    if found.state != SUBMITTED:
        coming = "it is already decided: approved, and being brought into force"
        how = coming if found.state in OPEN else f"it is already decided: {found.state}"
        raise not_as_shown(how + (f" ({printable(found.outcome, width=200)})" if found.outcome else ""))
    return found


def check(inbox: Inbox, decision: Decision) -> Request:
    """The request that `decision` approves. BottleError when it is not what was shown, or may not be approved so."""
    found = check_shown(inbox, decision.request, decision.hash)
    if decision.revision != inbox.revision:
        raise not_as_shown("what the bottle may reach has changed since")
    if decision.scope not in SCOPES:
        raise BottleError(f"there is no scope {printable(decision.scope, width=40)!r}", do=f"one of {', '.join(SCOPES)}")
    if (decision.scope == UNTIL) != bool(decision.until):
        raise BottleError("a time goes with the scope until, and only with that", do="--until 2h, or another scope")
    if decision.change is not None and not narrower(decision.change, found.change):
        raise BottleError("only what was asked for can be approved, or less", why="this is more, or something else",
                          do=_LOOK_AGAIN)  # fmt: skip
    if isinstance(found.change, CapabilityChange) and decision.scope not in (AGENT, "session"):
        raise BottleError("a tool stays in its bottle's image", why=f"it cannot be granted {decision.scope}",
                          do="--scope session (this bottle and its resumes) or agent (and the manifest)")  # fmt: skip
    if decision.credential and not isinstance(found.change, CredentialChange):
        raise BottleError("a credential goes with a request for one")
    return found


def not_as_shown(why: str) -> BottleError:
    return BottleError("the request is not what was shown", why=why, do=_LOOK_AGAIN)
