"""A stuck agent's request, its life, and the grant that comes of it.

A `Request` binds one change to one launch of one bottle; its `hash` is over exactly that, and an approval names the hash and
the policy revision it was shown with. The life cycle is the table `_NEXT`; nothing else moves a request. The agent's own
words (`reason`) are kept apart: they are shown last, as its text, and decide nothing. Pure.
"""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

from claude_bottle.digests import sha256
from claude_bottle.model.changes import Change, CredentialChange, EgressChange, stored
from claude_bottle.model.push_change import PushChange
from claude_bottle.values import dataclass, replace

if TYPE_CHECKING:
    from claude_bottle.model.policy import Rule

MAX_REASON = 2000
_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"

# Scopes of a grant. ONCE: one use (a request let through, a tunnel, a boot). SESSION: until this bottle ends. AGENT: like
# SESSION now, and offered as a patch to the manifest. UNTIL: to a moment, over resumes.
ONCE, SESSION, AGENT, UNTIL = "once", "session", "agent", "until"
SCOPES = (ONCE, SESSION, AGENT, UNTIL)

# The life of a request.
SUBMITTED, SUPERSEDED, EXPIRED, REJECTED, APPROVED, APPLIED, FAILED = (
    "submitted", "superseded", "expired", "rejected", "approved", "applied", "failed",
)  # fmt: skip
_NEXT = {
    SUBMITTED: frozenset({SUPERSEDED, EXPIRED, REJECTED, APPROVED}),
    APPROVED: frozenset({APPLIED, FAILED}),
    SUPERSEDED: frozenset(), EXPIRED: frozenset(), REJECTED: frozenset(), APPLIED: frozenset(), FAILED: frozenset(),
}  # fmt: skip
STATES = tuple(_NEXT)
OPEN = frozenset({SUBMITTED, APPROVED})
"""Something may still become of it: whoever waits for it goes on waiting."""


class BadMove(ValueError):
    """A request cannot go from the one state to the other."""


@dataclass(frozen=True)
class Request:
    """One thing one launch of a bottle asks for. `bottle` is the identity, `launch` the random id of this launch's inbox,
    so that an approval can never land on a re-created bottle of the same name. Times are RFC 3339 in UTC. `via` is how it
    came: mcp, http, or operator. `outcome` says in words what became of it, for the agent; `grant` names what came of it."""

    id: str
    bottle: str
    launch: str
    change: Change
    reason: str = ""
    via: str = "mcp"
    created: str = ""
    state: str = SUBMITTED
    outcome: str = ""
    scope: str = ""
    until: str = ""
    decided: str = ""
    grant: str = ""
    approved: Change | None = None
    """What was approved, where that is narrower than `change`."""
    credential: str = ""
    """The operator's credential that was approved for it, where that has another name than the one asked for."""

    @property
    def hash(self) -> str:
        """SHA-256 (hex) of what an approval is of: this change, in this request of this launch. Not the agent's words."""
        said = {"id": self.id, "bottle": self.bottle, "launch": self.launch, "change": self.change.to_dict()}
        return sha256(json.dumps(said, sort_keys=True, separators=(",", ":")).encode()).hexdigest()

    def moved(self, state: str, **fields: Any) -> Request:
        """This request in its next state. BadMove for one that the table does not know."""
        if state not in _NEXT[self.state]:
            raise BadMove(f"a request that is {self.state} cannot become {state}")
        return replace(self, state=state, **fields)

    def to_dict(self) -> dict[str, object]:
        return {
            "id": self.id, "bottle": self.bottle, "launch": self.launch, "change": self.change.to_dict(),
            "reason": self.reason, "via": self.via, "created": self.created, "state": self.state, "outcome": self.outcome,
            "scope": self.scope, "until": self.until, "decided": self.decided, "grant": self.grant,
            "approved": self.approved.to_dict() if self.approved else None, "credential": self.credential,
        }  # fmt: skip

    @staticmethod
    def from_dict(data: object) -> Request:
        """The inverse of `to_dict`. ValueError for what is none: a state file may have been edited."""
        if not isinstance(data, dict):
            raise ValueError("not a request")
        values = dict(data)
        change, approved = values.pop("change", None), values.pop("approved", None)
        if not all(isinstance(value, str) for value in values.values()) or values.get("state") not in STATES:
            raise ValueError("not a request: wrong types or an unknown state")
        try:
            return Request(change=stored(change), approved=stored(approved) if approved is not None else None, **values)
        except TypeError:
            raise ValueError("not a request: unknown or missing keys") from None


@dataclass(frozen=True)
class Grant:
    """An applied request. `expires` is RFC 3339, "" for never; enforced by the monotonic clock while the bottle runs.
    Not in force once `ended` (revoked, used up, expired) says why."""

    id: str
    request: str
    change: Change
    scope: str
    created: str
    expires: str = ""
    ended: str = ""
    credential: str = ""
    """As in its request."""

    @property
    def rules(self) -> tuple[Rule, ...]:
        """The rules it brings, marked with where they come from."""
        own: tuple[Rule, ...] = ()
        if isinstance(self.change, EgressChange):
            own = self.change.rules
        elif isinstance(self.change, CredentialChange | PushChange):
            own = (self.change.rule,)
        return tuple(replace(rule, origin=origin_of(self.id)) for rule in own)

    def to_dict(self) -> dict[str, object]:
        return {"id": self.id, "request": self.request, "change": self.change.to_dict(), "scope": self.scope,
                "created": self.created, "expires": self.expires, "ended": self.ended,
                "credential": self.credential}  # fmt: skip

    @staticmethod
    def from_dict(data: object) -> Grant:
        """The inverse of `to_dict`. ValueError for what is none."""
        if not isinstance(data, dict):
            raise ValueError("not a grant")
        values = dict(data)
        change = stored(values.pop("change", None))
        if not all(isinstance(value, str) for value in values.values()) or values.get("scope") not in SCOPES:
            raise ValueError("not a grant: wrong types or an unknown scope")
        try:
            return Grant(change=change, **values)
        except TypeError:
            raise ValueError("not a grant: unknown or missing keys") from None


def origin_of(grant: str) -> str:
    """What `Rule.origin` says of a rule that a grant brought."""
    return f"grant {grant}"


def new_request_id() -> str:
    return f"q-{_random()}"


def new_grant_id() -> str:
    return f"g-{_random()}"


def new_launch_id() -> str:
    return os.urandom(16).hex()


def _random() -> str:
    """40 bits that a person can read aloud and type."""
    return "".join(_ALPHABET[byte & 31] for byte in os.urandom(8))
