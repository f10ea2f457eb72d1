"""All requests and grants of one bottle, and every step one of them may take.

An `Inbox` is frozen: each step returns another one, which the keeper writes to disk before it acts on it, so a crash, a
full disk or a refused step leaves the former one. The life of a request is the table in `model.requests`; here is what a
step means for the others: equal requests are one, a wider one supersedes a narrower one, each change of the policy in force
is a new revision. Pure: times are given, nothing is looked up.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from claude_bottle.errors import BottleError
from claude_bottle.model.changes import CapabilityChange, narrower
from claude_bottle.model.requests import (
    AGENT,
    APPLIED,
    APPROVED,
    EXPIRED,
    FAILED,
    OPEN,
    REJECTED,
    SUBMITTED,
    SUPERSEDED,
    UNTIL,
    Grant,
    Request,
)
from claude_bottle.values import dataclass, field, replace

if TYPE_CHECKING:
    from claude_bottle.model.changes import Change
    from claude_bottle.supervise.decision import Decision

# How many may wait for a decision, and how many closed ones are remembered (with the grants that ended).
MAX_OPEN, MAX_REMEMBERED, MAX_ENDED = 32, 256, 256
# What all that is remembered may weigh, as JSON: closed requests are forgotten, oldest first, before it weighs more.
MAX_WEIGHT = 1 << 20


@dataclass(frozen=True)
class Inbox:
    """`launch` is the random id of this launch of `bottle`; `revision` numbers the policy in force. Both tuples are in the
    order of arrival."""

    bottle: str
    launch: str
    revision: int = 1
    requests: tuple[Request, ...] = ()
    grants: tuple[Grant, ...] = field(default=())

    @property
    def open(self) -> tuple[Request, ...]:
        return tuple(one for one in self.requests if one.state in OPEN)

    @property
    def waiting(self) -> tuple[Request, ...]:
        """Those the operator has to decide."""
        return tuple(one for one in self.requests if one.state == SUBMITTED)

    @property
    def in_force(self) -> tuple[Grant, ...]:
        return tuple(one for one in self.grants if not one.ended)

    def find(self, request: str) -> Request | None:
        return next((one for one in self.requests if one.id == request), None)

    def grant(self, grant: str) -> Grant | None:
        return next((one for one in self.grants if one.id == grant), None)

    def equal_to(self, change: Change) -> Request | None:
        """The open request for just this, which whoever asks for it again waits for too."""
        said = change.to_dict()
        return next((one for one in self.open if one.change.to_dict() == said), None)

    def superseded_by(self, change: Change) -> tuple[Request, ...]:
        """What waits and asks for nothing that `change` does not."""
        return tuple(one for one in self.waiting if narrower(one.change, change) and one.change.to_dict() != change.to_dict())

    # What an agent brings about

    def submit(self, request: Request) -> Inbox:
        """With one more request. BottleError when so many wait already that it is refused. Whoever submits has looked for
        `equal_to` first."""
        doomed = {one.id for one in self.superseded_by(request.change)}
        if len(self.open) - len(doomed) >= MAX_OPEN:
            raise BottleError("too many requests wait already", why=f"{MAX_OPEN} of this bottle are not decided yet",
                              do="wait for those, or ask for more in one request")  # fmt: skip
        said = f"superseded by {request.id}, which asks for this and more"
        requests = tuple(one.moved(SUPERSEDED, outcome=said) if one.id in doomed else one for one in self.requests)
        return replace(self, requests=(*requests, request)).tidied()

    # What the operator decides

    def approve(self, decision: Decision, grant: str, decided: str) -> Inbox:
        """The decision, which has been checked against this inbox, as a durable intention: what it is for is not in force
        yet. `grant`: the id of what comes of it. A new revision: what was shown beside it is to be looked at again."""
        found = self._have(decision.request)
        approved = None if decision.change is None or decision.change == found.change else decision.change
        moved = found.moved(APPROVED, scope=decision.scope, until=decision.until, decided=decided, grant=grant,
                            approved=approved, credential=decision.credential)  # fmt: skip
        return replace(self._with(moved), revision=self.revision + 1)

    def reject(self, request: str, outcome: str, decided: str) -> Inbox:
        return self._with(self._have(request).moved(REJECTED, outcome=outcome, decided=decided)).tidied()

    # What comes of it

    def applied(self, request: str, outcome: str, created: str) -> Inbox:
        """What was approved is in force: one grant, made here and nowhere else."""
        moved = self._have(request).moved(APPLIED, outcome=outcome)
        made = Grant(moved.grant, moved.id, moved.approved or moved.change, moved.scope, created,
                     expires=moved.until if moved.scope == UNTIL else "", credential=moved.credential)  # fmt: skip
        return replace(self._with(moved), grants=(*self.grants, made)).tidied()

    def failed(self, request: str, outcome: str) -> Inbox:
        """It could not be brought into force; a new revision, for it may have been for a moment."""
        moved = self._with(self._have(request).moved(FAILED, outcome=outcome))
        return replace(moved, revision=self.revision + 1).tidied()

    def expire(self, request: str, outcome: str) -> Inbox:
        return self._with(self._have(request).moved(EXPIRED, outcome=outcome)).tidied()

    def end_grants(self, ended: dict[str, str]) -> Inbox:
        """Grants that end now, each with why. What has ended stays so. A new revision if any has."""
        grants = tuple(
            replace(one, ended=ended[one.id]) if one.id in ended and not one.ended else one for one in self.grants
        )
        return replace(self, grants=grants, revision=self.revision + 1).tidied() if grants != self.grants else self

    def tidied(self) -> Inbox:
        """Without the oldest of what is closed, where there is more than is remembered."""
        closed = [one for one in self.requests if one.state not in OPEN]
        needed = {one.request for one in self.in_force}
        excess, weight = len(closed) - MAX_REMEMBERED, sum(map(_weight, self.requests))
        dropped: set[str] = set()
        for one in closed:
            if excess <= 0 and weight <= MAX_WEIGHT:
                break
            if one.id not in needed:
                dropped.add(one.id)
                excess, weight = excess - 1, weight - _weight(one)
        over = {one.id for one in [one for one in self.grants if one.ended][:-MAX_ENDED]}
        return replace(self, requests=tuple(one for one in self.requests if one.id not in dropped),
                       grants=tuple(one for one in self.grants if one.id not in over))  # fmt: skip

    def to_dict(self) -> dict[str, object]:
        return {"launch": self.launch, "revision": self.revision, "requests": [one.to_dict() for one in self.requests],
                "grants": [one.to_dict() for one in self.grants]}  # fmt: skip

    @staticmethod
    def from_dict(bottle: str, data: dict[str, object]) -> Inbox:
        """The inverse of `to_dict`, for the bottle whose it is. ValueError for what is none: a file may have been edited."""
        launch, revision, requests, grants = (data.get(key) for key in ("launch", "revision", "requests", "grants"))
        if not isinstance(launch, str) or type(revision) is not int or revision < 1:
            raise ValueError("no launch or revision")
        if not isinstance(requests, list) or not isinstance(grants, list):
            raise ValueError("no list of requests or grants")
        made = Inbox(bottle, launch, revision, tuple(map(Request.from_dict, requests)), tuple(map(Grant.from_dict, grants)))
        if any(one.bottle != bottle for one in made.requests):
            raise ValueError("a request of another bottle")
        if any(len({one.id for one in ones}) < len(ones) for ones in (made.requests, made.grants)):
            raise ValueError("two of one id")
        return made

    def _have(self, request: str) -> Request:
        found = self.find(request)
        if found is None:
            raise BottleError(f"no request {request}", do="claude-bottle requests lists them")
        return found

    def _with(self, moved: Request) -> Inbox:
        return replace(self, requests=tuple(moved if one.id == moved.id else one for one in self.requests))


def lasting(grant: Grant) -> bool:
    """Whether a grant outlives its bottle. A tool does: it is in the layers that every boot of the identity has."""
    return not grant.ended and (grant.scope in (AGENT, UNTIL) or isinstance(grant.change, CapabilityChange))


def _weight(request: Request) -> int:
    """Roughly its size as JSON, where a character may take six."""
    import json

    return len(json.dumps(request.to_dict()))
