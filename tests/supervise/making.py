"""Changes, requests and inboxes for the tests."""

from __future__ import annotations

from itertools import count
from typing import Any

from hypothesis import strategies as st

from claude_bottle.model.capability import Capability
from claude_bottle.model.changes import BudgetChange, CapabilityChange, Change, CredentialChange, EgressChange, MoneyChange
from claude_bottle.model.policy import TUNNEL, Rule
from claude_bottle.model.requests import Request
from claude_bottle.supervise.decision import Decision, check
from claude_bottle.supervise.inbox import Inbox

BOTTLE, LAUNCH, NOW = "tester-abcdef", "0" * 32, "2026-11-28T12:00:00.000000Z"
_numbers = count(1)


def egress(*hosts: str, **rule: Any) -> EgressChange:
    return EgressChange(tuple(Rule(host, **rule) for host in hosts or ("crates.io",)))


def tool(*packages: str) -> CapabilityChange:
    return CapabilityChange(Capability("apt", packages or ("ripgrep",)))


def request(change: Change | None = None, *, number: int | None = None, launch: str = LAUNCH, **fields: Any) -> Request:
    number = next(_numbers) if number is None else number
    return Request(f"q-{number}", BOTTLE, launch, change or egress(), created=NOW, **fields)


def inbox(*requests: Request) -> Inbox:
    made = Inbox(BOTTLE, LAUNCH)
    for one in requests:
        made = made.submit(one)
    return made


def approved(box: Inbox, one: Request, scope: str = "session", **fields: Any) -> Inbox:
    """As the keeper does it: checked first."""
    decision = Decision(one.id, one.hash, box.revision, scope, **fields)
    check(box, decision)
    return box.approve(decision, f"g-{one.id[2:]}", NOW)


def granted(box: Inbox, one: Request, scope: str = "session", **fields: Any) -> Inbox:
    return approved(box, one, scope, **fields).applied(one.id, "in force", NOW)


hosts = st.sampled_from(["crates.io", "a.example.com", "b.example.com", "xn--80ak6aa92e.com", "db.example.org"])
paths = st.sampled_from(["/", "/a", "/a/b", "/api/**", "/api/*", "/x,y", "/p%20q", "/" + "long" * 30, "/a|b", "/or", "/with"])
methods = st.sampled_from(["GET", "POST", "PUT", "ANY", "OR"])
inspected = st.builds(
    lambda host, port, methods, paths: Rule(host, port, tuple(methods), tuple(paths)),
    hosts, st.sampled_from([443, 80, 8443]), st.lists(methods, max_size=3, unique=True),
    st.lists(paths, max_size=3, unique=True),
)  # fmt: skip
tunnels = st.builds(lambda host, port: Rule(host, port, tls=TUNNEL), hosts, st.sampled_from([443, 5432]))


def _egress(rules: list[Rule]) -> EgressChange | None:
    try:
        return EgressChange(tuple(rules))
    except ValueError:  # in conflict with itself
        return None


egresses = st.lists(st.one_of(inspected, tunnels), min_size=1, max_size=4).map(_egress).filter(lambda one: one is not None)
credentials = st.builds(
    lambda host, methods, paths, name: CredentialChange(Rule(host, 443, tuple(methods), tuple(paths), credential=name)),
    hosts, st.lists(methods, max_size=2, unique=True), st.lists(paths, max_size=2, unique=True),
    st.sampled_from(["github", "a", "with"]),
)  # fmt: skip
packages = st.lists(st.sampled_from(["ripgrep", "jq", "fd-find", "git"]), min_size=1, max_size=3, unique=True)
tools = st.builds(
    lambda kind, items: CapabilityChange(Capability(kind, tuple(items))), st.sampled_from(["apt", "npm"]), packages
)
fragments = st.builds(
    lambda steps, network: CapabilityChange(Capability("dockerfile", (), "\n".join(steps), network)),
    st.lists(st.sampled_from(["RUN make", "ENV A=b", "RUN " + "x" * 100, "RUN a \\\n  b"]), min_size=1, max_size=3),
    st.booleans(),
)  # fmt: skip
budgets = st.integers(1, 1 << 40).map(BudgetChange) | st.integers(1, 1_000_000).map(lambda cents: MoneyChange(cents / 100))
changes: st.SearchStrategy[Change] = st.one_of(egresses, credentials, tools, fragments, budgets)
