"""What an operator sees of a request or a grant: plain data, every text of it printable, made from the structured change.

The one source for command line, dashboard and JSON. What is approved is complete in `lines`, wrapped and never cut, and two
changes that grant different things never look the same. The agent's words come last, as `reason`, and decide nothing. Pure.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from claude_bottle.model.changes import (
    BudgetChange,
    CapabilityChange,
    Change,
    CredentialChange,
    EgressChange,
    MoneyChange,
)
from claude_bottle.model.policy import TUNNEL, Rule
from claude_bottle.model.push_change import PushChange
from claude_bottle.model.requests import MAX_REASON, OPEN, Grant, Request
from claude_bottle.redact import printable
from claude_bottle.supervise.cautions import Surroundings, cautions
from claude_bottle.supervise.composition import rules_of
from claude_bottle.supervise.summary import size, summary

if TYPE_CHECKING:
    from collections.abc import Iterable

View = dict[str, object]

WIDTH = 76
LIVE, REBUILT = "in force at once, no restart", "image rebuilt, same conversation goes on"
# What a continued line begins with. No item does: those begin with a sign, and nothing in them is left out.
_MORE = "      "


def view(request: Request, around: Surroundings) -> View:
    """One request as everyone shows it; docs/requests.md lists its keys."""
    pending = request.state in OPEN
    return {
        "id": request.id, "identity": request.bottle, "launch": request.launch, "kind": request.change.kind,
        "state": request.state, "hash": request.hash, "revision": around.revision, "created": request.created,
        "via": request.via, "scope": request.scope, "until": request.until, "decided": request.decided,
        "outcome": printable(request.outcome, keep_newlines=True), "grant": request.grant,
        "title": title(request.change), "summary": summary(request.change.to_dict()),
        "lines": lines(request.change),
        "approved": lines(request.approved) if request.approved else [],
        "effect": REBUILT if isinstance(request.change, CapabilityChange) else LIVE,
        "reach": reach(around.rules, request.change) if pending else [],
        "warnings": cautions(request.change, around) if pending else [],
        "change": request.change.to_dict(),
        "reason": reason(request.reason),
    }  # fmt: skip


def grant_view(grant: Grant) -> View:
    """One grant, in force or ended."""
    return {
        "id": grant.id, "request": grant.request, "kind": grant.change.kind, "scope": grant.scope, "created": grant.created,
        "expires": grant.expires, "ended": printable(grant.ended), "title": title(grant.change),
        "summary": summary(grant.change.to_dict()), "lines": lines(grant.change), "change": grant.change.to_dict(),
        "credential": grant.credential,
    }  # fmt: skip


def title(change: Change) -> str:
    """What is asked for, as the end of `IDENTITY asks for …`."""
    if isinstance(change, EgressChange):
        hosts = {rule.host for rule in change.rules}
        return "a host" if len(hosts) == 1 else f"{len(hosts)} hosts"
    if isinstance(change, CredentialChange):
        return f"the credential {change.name}"
    if isinstance(change, PushChange):
        return "a push with what looks like a secret" if change.secrets else "a push that changes what runs by itself"
    return "a tool" if isinstance(change, CapabilityChange) else "more of its budget"


def lines(change: Change) -> list[str]:
    """Everything that would change, one item a line of at most WIDTH columns, longer ones continued on further lines."""
    found: list[str] = []
    if isinstance(change, EgressChange):
        for rule in change.rules:
            found += _rule(rule)
    elif isinstance(change, CredentialChange):
        found = [f"+ credential  {change.name}", *_rule(change.rule)]
    elif isinstance(change, PushChange):
        found = _push(change)
    elif isinstance(change, BudgetChange):
        found = [f"+ egress budget  {size(change.egress_bytes)} more ({change.egress_bytes} bytes)"]
    elif isinstance(change, MoneyChange):
        found = [f"+ budget of money  ${change.usd:.2f} more at the model's API"]
    else:
        found = _capability(change)
    return [piece for line in found for piece in wrapped(line)]


def reach(rules: Iterable[Rule], change: Change) -> list[str]:
    """All that the bottle may reach once it is approved: what is new first and marked, then what it has."""
    new = [f"+ {words}" for rule in rules_of(change) for words in _reached(rule)]
    old = [f"  {words}" for rule in rules for words in _reached(rule)]
    return [piece for line in (*new, *dict.fromkeys(old)) for piece in wrapped(line)]


def reason(text: str) -> str:
    """The agent's words: printable, its line ends kept, of bounded length."""
    said = printable(text[:MAX_REASON], keep_newlines=True).replace("\t", " ")
    return said if len(said) <= MAX_REASON else said[: MAX_REASON - 1] + "…"


def wrapped(line: str) -> list[str]:
    """The line in pieces of at most WIDTH columns: nothing is left out, no blank either."""
    pieces, rest = [line[:WIDTH]], line[WIDTH:]
    room = WIDTH - len(_MORE)
    pieces += [_MORE + rest[at : at + room] for at in range(0, len(rest), room)]
    return pieces


def _rule(rule: Rule) -> list[str]:
    """The first line begins a rule, `or` goes on with it: all its paths have the same methods."""
    if rule.tls == TUNNEL:
        return [f"+ TUNNEL  {rule.host}:{rule.port}  anything, unread"]
    place = _place(rule)
    with_credential = f"  with {rule.credential}" if rule.credential else ""
    paths = [f"{place}{path}" for path in rule.paths] or [f"{place}  any path"]
    first, *others = paths
    methods = ",".join(rule.methods) or "any method"
    socket = ["+   and as a WebSocket, its messages unread"] if rule.websocket else []
    return [f"+ {methods}  {first}{with_credential}", *(f"+   or  {other}" for other in others), *socket]


def _place(rule: Rule) -> str:
    """As in a URL. On other ports than 443 the gate takes TLS and plain HTTP (80: only the latter)."""
    if rule.port == 443:
        return f"https://{rule.host}"
    return f"http://{rule.host}" if rule.port == 80 else f"http(s)://{rule.host}:{rule.port}"


def _reached(rule: Rule) -> list[str]:
    where = f"{rule.host}:{rule.port}"
    if rule.tls == TUNNEL:
        return [f"{where} anything, unread"]
    if rule.git:
        return [f"{where} {rule.git.describe()}" + (f" with {rule.credential}" if rule.credential else "")]
    methods, ends = " ".join(rule.methods) or "any method", f" with {rule.credential}" if rule.credential else ""
    ends += ", and as a WebSocket" if rule.websocket else ""
    return [f"{where} {methods} {path}{ends}" for path in rule.paths or ("any path",)]


def _push(change: PushChange) -> list[str]:
    """Where to, what looks like a secret, each file with its kind, then what happens to them, line by line."""
    place = f"{change.host}{'' if change.port == 443 else f':{change.port}'}/{change.repository}"
    found = [f"+ push  {place}"]
    found += [f"+ ref  {one.ref}  {one.old[:12]} -> {one.new}" for one in change.commands]
    for one in change.secrets:
        found += [f"+ LOOKS LIKE A SECRET  {one.place}: {one.rule}, which begins {one.begins!r}", f"+   named {one.key}"]
    found += [f"+ {kind}  {path}" for kind, path in change.triggers]
    return [*found, *(f"+ | {line}" for line in change.diff.split("\n") if change.triggers)]


def _capability(change: CapabilityChange) -> list[str]:
    wanted = change.capability
    if not wanted.fragment:
        return [f"+ {wanted.kind}  {item}" for item in wanted.items]
    network = "its steps reach the network" if wanted.network else "its steps reach no network"
    return [f"+ {wanted.kind}, {network}", *(f"+ | {line}" for line in wanted.fragment.split("\n"))]
