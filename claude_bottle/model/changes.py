"""What may be asked for while a bottle runs: one structured change that checks itself when it is made.

What exists is sound, and what no approval may lift (floors: reserved names, addresses, wildcards, the gate's own ports)
cannot be asked for at all. Everything that reaches here is hostile: it comes from an agent or out of a state file. Pure.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from claude_bottle.model.credentials import check_credential_name
from claude_bottle.model.hosts import reserved_reason
from claude_bottle.model.matching import conflicts
from claude_bottle.model.policy import INSPECT, Rule
from claude_bottle.model.push_change import PushChange
from claude_bottle.values import dataclass

if TYPE_CHECKING:
    from collections.abc import Collection

    from claude_bottle.model.capability import Capability

EGRESS, CREDENTIAL, CAPABILITY, BUDGET, MONEY = "egress", "credential", "capability", "budget", "money"

# Bounds on what an agent may submit (I16). A change is small enough to be shown whole on one screen.
MAX_RULES, MAX_PATHS, MAX_TEXT = 8, 16, 512
MAX_BYTES = 1 << 40
MAX_USD = 10_000
# How a capability is written (`Capability.from_dict`): one of these keys, and what it holds.
PACKAGES = {
    "apt": "Debian packages.", "pip": "Python packages.", "npm": "npm packages, installed globally.",
    "cargo": "Rust crates with programs.", "go": "Go modules with programs.",
}  # fmt: skip
FRAGMENT = "dockerfile"


@dataclass(frozen=True)
class EgressChange:
    """Further rules: hosts, ports, methods, paths. Without credentials: those are `CredentialChange`."""

    rules: tuple[Rule, ...]
    kind: str = EGRESS

    def __post_init__(self) -> None:
        if not 1 <= len(self.rules) <= MAX_RULES:
            raise ValueError(f"ask for 1 to {MAX_RULES} rules at a time")
        for rule in self.rules:
            _check_small(rule)
            if rule.credential is not None:
                raise ValueError("a rule with a credential is asked for as a credential")
        if problems := conflicts(self.rules):
            raise ValueError("; ".join(problems))

    def to_dict(self) -> dict[str, object]:
        return {"kind": self.kind, "rules": [_rule_dict(rule) for rule in self.rules]}


@dataclass(frozen=True)
class CredentialChange:
    """The credential called `name` on the places of `rule`, which names it. Where its value comes from is the operator's
    to say, never the agent's."""

    rule: Rule
    kind: str = CREDENTIAL

    def __post_init__(self) -> None:
        _check_small(self.rule)
        if self.rule.credential is None:
            raise ValueError("a credential is asked for by its name")

    @property
    def name(self) -> str:
        return check_credential_name(str(self.rule.credential))

    def to_dict(self) -> dict[str, object]:
        return {"kind": self.kind, "rule": _rule_dict(self.rule)}


@dataclass(frozen=True)
class CapabilityChange:
    """A tool in the bottle's own file system: one more layer, for which the bottle is booted again."""

    capability: Capability
    kind: str = CAPABILITY

    def to_dict(self) -> dict[str, object]:
        return {"kind": self.kind, "capability": self.capability.to_dict()}


@dataclass(frozen=True)
class BudgetChange:
    """More of a budget: `egress_bytes` on top of what is granted."""

    egress_bytes: int
    kind: str = BUDGET

    def __post_init__(self) -> None:
        if type(self.egress_bytes) is not int or not 0 < self.egress_bytes <= MAX_BYTES:
            raise ValueError("egress_bytes is a number of bytes above 0")

    def to_dict(self) -> dict[str, object]:
        return {"kind": self.kind, "egress_bytes": self.egress_bytes}


@dataclass(frozen=True)
class MoneyChange:
    """More of a budget of money: US dollars, to the cent, on top of what is granted."""

    usd: float
    kind: str = MONEY

    def __post_init__(self) -> None:
        if type(self.usd) not in (int, float) or not 0 < self.usd <= MAX_USD or round(self.usd, 2) != self.usd:
            raise ValueError(f"usd is a number of dollars up to {MAX_USD}, to the cent")

    def to_dict(self) -> dict[str, object]:
        return {"kind": self.kind, "usd": self.usd}


Change = EgressChange | CredentialChange | CapabilityChange | BudgetChange | MoneyChange | PushChange


def change_from_dict(data: object, *, operator_named: Collection[tuple[str, int]] = ()) -> Change:
    """The change in decoded JSON from anywhere, checked. ValueError in words for what is none, or may never be granted.
    `operator_named`: as in `Policy`, the only places where reserved names count."""
    if not isinstance(data, dict):
        raise ValueError("a change is an object")
    keys = set(data) - {"kind"}
    match data.get("kind"):
        case "egress" if keys == {"rules"} and isinstance(data["rules"], list):
            change: Change = EgressChange(tuple(_rule(one, operator_named) for one in data["rules"][: MAX_RULES + 1]))
        case "credential" if keys == {"rule"}:
            change = CredentialChange(_rule(data["rule"], operator_named))
        case "capability" if keys == {"capability"} and isinstance(data["capability"], dict):
            from claude_bottle.model.capability import Capability

            change = CapabilityChange(Capability.from_dict(data["capability"]))
        case "budget" if keys == {"egress_bytes"}:
            change = BudgetChange(data["egress_bytes"])
        case "money" if keys == {"usd"}:
            change = MoneyChange(data["usd"])
        case "push":
            change = PushChange.from_dict(data)
            _check_place(change.rule, operator_named)
        case _:
            raise ValueError("a change is of the kind egress, credential, capability, budget or money, with its own keys")
    return change


def narrower(change: Change, shown: Change) -> bool:
    """Whether `change` grants nothing that `shown` did not ask for: what an operator may approve in its place."""
    if type(change) is not type(shown):
        return False
    if isinstance(change, EgressChange) and isinstance(shown, EgressChange):
        return all(any(within(rule, wide) for wide in shown.rules) for rule in change.rules)
    if isinstance(change, CredentialChange) and isinstance(shown, CredentialChange):
        return change.name == shown.name and within(change.rule, shown.rule)
    if isinstance(change, BudgetChange) and isinstance(shown, BudgetChange):
        return change.egress_bytes <= shown.egress_bytes
    if isinstance(change, MoneyChange) and isinstance(shown, MoneyChange):
        return change.usd <= shown.usd
    return change == shown


def _check_small(rule: Rule) -> None:
    if len(rule.paths) > MAX_PATHS or len(rule.methods) > MAX_PATHS:
        raise ValueError(f"name at most {MAX_PATHS} methods and paths")
    if any(len(text) > MAX_TEXT for text in (*rule.paths, rule.note)):
        raise ValueError(f"a path has at most {MAX_TEXT} characters")


def _rule(data: object, operator_named: Collection[tuple[str, int]]) -> Rule:
    """A rule as an agent writes it. Where it comes from (`origin`) is not its to say."""
    if not isinstance(data, dict) or not set(data) <= {"host", "port", "methods", "paths", "tls", "credential", "websocket"}:
        raise ValueError("a rule has host, and may have port, methods, paths, tls, credential, websocket")
    rule = Rule.from_dict({"tls": INSPECT, **data})
    _check_place(rule, operator_named)
    if any(not path.isprintable() or not path.isascii() for path in rule.paths):
        raise ValueError("a path is printable ASCII, other characters percent-encoded")
    return rule


def _check_place(rule: Rule, operator_named: Collection[tuple[str, int]]) -> None:
    if rule.wide:
        raise ValueError("a wildcard is only for a manifest; name the host")
    why = reserved_reason(rule.host)
    if why is not None and (rule.host, rule.port) not in operator_named:
        raise ValueError(f"{rule.host} can never be granted: {why}")


def stored(data: object) -> Change:
    """A change out of a state file: what was sound when written stays so, whatever the settings name by now; the policy
    that is made of it decides about reserved names again."""
    if not isinstance(data, dict):
        raise ValueError("not a change")
    return change_from_dict(data, operator_named=_places(data))


def _places(data: dict[object, object]) -> set[tuple[str, int]]:
    rules = data.get("rules", [data.get("rule", data)])
    found = [(one.get("host"), one.get("port")) for one in rules if isinstance(one, dict)] if isinstance(rules, list) else []
    return {(host, port) for host, port in found if isinstance(host, str) and isinstance(port, int)}


def _rule_dict(rule: Rule) -> dict[str, object]:
    """Without `note` and `origin`: a change is what it grants, not what is said about it."""
    said = rule.to_dict()
    kept = {key: said[key] for key in ("host", "port", "methods", "paths", "tls", "credential")}
    return kept | ({"websocket": True} if rule.websocket else {})


def within(rule: Rule, wide: Rule) -> bool:
    """Whether `rule` allows nothing that `wide` does not. May say no where the answer is yes."""
    from claude_bottle.model.urlpath import BadTarget, compile_pattern, covers_path

    def covered(path: str) -> bool:
        if path in wide.paths:
            return True
        try:
            if "*" in path:
                return any(covers_path(pattern, path) for pattern in wide.paths)
            return any(compile_pattern(pattern)(path) for pattern in wide.paths)
        except BadTarget:
            return False

    if rule.git != wide.git or (rule.websocket and not wide.websocket):
        return False  # what one grants as git, the other does not grant at all
    same_place = (rule.host, rule.port, rule.tls, rule.credential) == (wide.host, wide.port, wide.tls, wide.credential)
    methods = not wide.methods or (bool(rule.methods) and set(rule.methods) <= set(wide.methods))
    return same_place and methods and (not wide.paths or (bool(rule.paths) and all(covered(path) for path in rule.paths)))
