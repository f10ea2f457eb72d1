"""Deciding what a stuck agent asked for, from the command line: show it whole, ask, tell the keeper, wait for what comes.

An approval names the hash and the revision that were shown here; the keeper refuses it when either is another one by then.
"""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING

from claude_bottle import log
from claude_bottle.errors import BottleError, Refused, UsageError
from claude_bottle.keeper.client import Control
from claude_bottle.redact import printable
from claude_bottle.state.paths import Paths
from claude_bottle.state.record import timestamp, unix_time
from claude_bottle.supervise.render import lines
from claude_bottle.values import dataclass
from claude_bottle.workflow.answering import approval, rejection
from claude_bottle.workflow.asked import find_grant, find_request
from claude_bottle.workflow.asked_text import grant_text, request_text
from claude_bottle.workflow.narrowing import Narrowing, narrowed
from claude_bottle.workflow.terminal import ask, mend

if TYPE_CHECKING:
    from typing import Any

    from claude_bottle.workflow.asked import Asked

SESSION, UNTIL = "session", "until"
_SHORTEST_HASH = 16
_SPAN = re.compile(r"([1-9][0-9]{0,5})\s*([smhd])", re.ASCII)
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_CLOCK = re.compile(r"([01]?[0-9]|2[0-3]):([0-5][0-9])", re.ASCII)


@dataclass(frozen=True)
class Approval:
    """The command line of `approve`. `until` as an operator writes it: 2h, 18:00, 2026-12-24."""

    request: str
    scope: str = ""
    until: str = ""
    narrowing: Narrowing = Narrowing()
    credential: str = ""
    hash: str = ""
    yes: bool = False


def approve(wanted: Approval, paths: Paths | None = None) -> int:
    """The verb. 0 once it is in force, 1 when it has failed. Refused (exit 3) when the operator does not say yes."""
    mend()
    paths = paths or Paths.default()
    scope, until = chosen_scope(wanted.scope, wanted.until)
    bottle, view = find_request(paths, wanted.request)
    demand_hash(view, wanted.hash)
    change = narrowed(view["change"], wanted.narrowing)
    show(view, change, scope, until, wanted.credential)
    if view["state"] == "submitted" and not wanted.yes and not ask(f"approve this for {view['identity']}? [y/N] "):
        raise Refused("not approved", why="you did not say yes; the request still waits")
    message = approval(view, scope=scope, until=until, change=change, credential=wanted.credential)
    return carried_out(paths, bottle, message)


def reject(request: str, reason: str, shown: str = "", paths: Paths | None = None) -> int:
    """The verb. The agent is told the reason."""
    paths = paths or Paths.default()
    bottle, view = find_request(paths, request)
    demand_hash(view, shown)
    return carried_out(paths, bottle, rejection(view, reason))


def revoke(grant: str, paths: Paths | None = None) -> int:
    """The verb: of a running bottle at once, its connections cut; of one that is kept, for its next resume."""
    identity, view = take_back(grant, paths or Paths.default())
    print(grant_text(identity, view))
    log.say(f"{grant} is revoked")
    return 0


def take_back(grant: str, paths: Paths) -> tuple[str, dict[str, Any]]:
    """(identity, view) of a grant once it has ended and what went on by it is cut. BottleError when it was not in force."""
    found = find_grant(paths, grant)
    if found is None:
        from claude_bottle.workflow.kept_grants import revoke_kept

        return revoke_kept(paths, grant)
    identity = found[0].identity
    with Control(paths, identity) as control:
        return identity, control.revoke(grant)


def carried_out(paths: Paths, bottle: Asked, message: dict[str, object]) -> int:
    """Send it and say how it goes on, to its end."""
    outcome: dict[str, Any] = {}
    with Control(paths, bottle.identity) as control:
        for outcome in control.decide(message):
            if outcome.get("state") == "approved":
                log.say(f"{outcome['id']} is approved; it is being brought into force")
    if outcome.get("state") == "failed":
        raise BottleError(f"{outcome['id']} was approved, but it failed", why=str(outcome.get("outcome", "")),
                          do="the agent has been told; it may ask again")  # fmt: skip
    said = {"applied": f"is in force (grant {outcome.get('grant')})", "rejected": "is rejected; the agent has been told"}
    log.say(f"{outcome.get('id')} {said.get(str(outcome.get('state')), outcome.get('state'))}")
    return 0


def show(view: dict[str, Any], change: dict[str, object] | None, scope: str, until: str, credential: str) -> None:
    """Everything that an approval would be of."""
    print(request_text(view))
    print()
    if change is not None:
        from claude_bottle.model.changes import stored

        print("you approve less than that, this is all of it:")
        print("\n".join(f"  {printable(line)}" for line in lines(stored(change))))
    if credential:
        print(f"with your credential {printable(credential)}")
    print(f"scope: {f'until {until[:19]}Z' if until else scope}", flush=True)


def demand_hash(view: dict[str, Any], wanted: str) -> None:
    """Refused unless the request is the one that a script has seen."""
    if wanted and len(wanted) < _SHORTEST_HASH:
        raise UsageError(f"--hash needs at least {_SHORTEST_HASH} characters")
    if wanted and not str(view["hash"]).startswith(wanted.lower()):
        raise Refused("the request is not the one you named", why=f"its hash is {view['hash']}",
                      do="look at it: claude-bottle requests")  # fmt: skip


def chosen_scope(scope: str, until: str) -> tuple[str, str]:
    """The scope, and the end of `until` (RFC 3339, UTC). UsageError for what does not go together."""
    if until and scope not in ("", UNTIL):
        raise UsageError(f"--until does not go with --scope {scope}", do="leave --scope out")
    if not until:
        if scope == UNTIL:
            raise UsageError("--scope until needs a time", do="for example --until 2h")
        return scope or SESSION, ""
    at = moment(until)
    if at is None:
        raise UsageError(f"not a time: {printable(until, width=40)}", do="2h, 30m, 3d, 18:00, 2026-12-24 or 2026-12-24T18:00")
    return UNTIL, timestamp(at)


def moment(text: str) -> float | None:
    """The Unix time that an operator means: a span from now, an hour of today (or tomorrow), a date, a local time."""
    if span := _SPAN.fullmatch(text.strip()):
        return time.time() + int(span[1]) * _SECONDS[span[2]]
    if clock := _CLOCK.fullmatch(text.strip()):
        now = time.time()
        year, month, day = time.localtime(now)[:3]
        days = (time.mktime((year, month, day + ahead, int(clock[1]), int(clock[2]), 0, 0, 0, -1)) for ahead in (0, 1))
        return next(at for at in days if at > now)  # a day may have 23 or 25 hours
    return unix_time(text.strip())
