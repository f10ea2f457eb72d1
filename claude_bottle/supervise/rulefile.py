"""What an operator approves beforehand, in a file, for a run that nobody watches: `--approvals FILE`.

Each entry is one change as an agent may ask for it, with the scope of its approval. A request is approved by the file only
where everything it asks for is written there with one scope: the exact kind, host, port, credential, package, and no method
or path beyond those written. A fragment of a Dockerfile cannot be approved beforehand, `until` neither; `once` counts once
in each launch. Pure: the file is read elsewhere, and shown in the plan.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from claude_bottle.errors import BottleError, UsageError
from claude_bottle.model.changes import (
    BudgetChange,
    CapabilityChange,
    CredentialChange,
    EgressChange,
    change_from_dict,
    narrower,
    within,
)
from claude_bottle.model.requests import AGENT, ONCE, SESSION
from claude_bottle.redact import printable
from claude_bottle.values import dataclass

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from claude_bottle.model.changes import Change

SCOPES = (ONCE, SESSION, AGENT)
MAX_ENTRIES = 100
_KEYS = {"egress": "rules", "credential": "rule", "capability": "capability", "budget": "egress_bytes"}
_EXAMPLE = ('{"version": 1, "approve": [{"egress": {"host": "crates.io", "methods": ["GET"]}, "scope": "session"}, '
            '{"capability": {"apt": ["ripgrep"]}, "scope": "agent"}]}')  # fmt: skip


@dataclass(frozen=True)
class Entry:
    """One line of the file. An egress entry has one rule."""

    change: Change
    scope: str

    def to_dict(self) -> dict[str, object]:
        return {**self.change.to_dict(), "scope": self.scope}

    @staticmethod
    def from_dict(data: dict[str, object]) -> Entry:
        """The inverse of `to_dict`, for what a plan of ours holds."""
        from claude_bottle.model.changes import stored

        rest = {key: value for key, value in data.items() if key != "scope"}
        return Entry(stored(rest), str(data["scope"]))


def parse(data: dict[str, object], operator_named: Collection[tuple[str, int]] = ()) -> tuple[Entry, ...]:
    """The entries of a decoded file. UsageError listing everything that is wrong with it."""
    entries, problems = [], []
    wanted = data.get("approve")
    if data.get("version") != 1 or data.keys() != {"version", "approve"} or not isinstance(wanted, list):
        problems.append('it is an object with "version": 1 and a list "approve", nothing else')
        wanted = []
    if len(wanted) > MAX_ENTRIES:
        problems.append(f"it has more than {MAX_ENTRIES} entries")
    for index, one in enumerate(wanted[:MAX_ENTRIES]):
        try:
            entries.append(_entry(one, operator_named))
        except BottleError as problem:
            problems.append(f"approve[{index}]: {problem.what}: {problem.why}")
        except (ValueError, RecursionError) as problem:
            problems.append(f"approve[{index}]: {printable(str(problem))}")
    if problems:
        raise UsageError("the file of approvals cannot be used", why="\n".join(problems), do=f"an example: {_EXAMPLE}")
    return tuple(entries)


def _entry(one: object, operator_named: Collection[tuple[str, int]]) -> Entry:
    kinds = [key for key in one if key in _KEYS] if isinstance(one, dict) else []
    if not isinstance(one, dict) or len(kinds) != 1 or one.keys() != {kinds[0], "scope"}:
        raise ValueError(f"an entry has a scope and exactly one of {', '.join(_KEYS)}")
    if one["scope"] not in SCOPES:
        raise ValueError(f"its scope is one of {', '.join(SCOPES)}")
    kind, value = kinds[0], one[kinds[0]]
    if kind == "budget":
        value = value.get("egress_bytes") if isinstance(value, dict) and value.keys() == {"egress_bytes"} else None
    said = {"kind": kind, _KEYS[kind]: [value] if kind == "egress" else value}
    change = change_from_dict(said, operator_named=operator_named)
    if isinstance(change, CapabilityChange):
        if change.capability.fragment:
            raise ValueError("a fragment is never approved beforehand; name packages")
        if one["scope"] == ONCE:
            raise ValueError("a tool stays in its bottle's image: its scope is session or agent")
    return Entry(change, one["scope"])


def covering(entries: Sequence[Entry], change: Change, used: Collection[int] = (), granted_bytes: int = 0) -> tuple[int, ...]:
    """The entries that together approve all of `change`, all of one scope; () when it is not approved. `used`: the `once`
    entries that have been; `granted_bytes`: what the budget has been raised by already."""
    for scope in SCOPES:
        those = {index: one for index, one in enumerate(entries)
                 if one.scope == scope and not (scope == ONCE and index in used)}  # fmt: skip
        if found := _covering(those, change, granted_bytes):
            return found
    return ()


def _covering(those: dict[int, Entry], change: Change, granted_bytes: int) -> tuple[int, ...]:
    if isinstance(change, EgressChange):
        return _each(next((index for index, one in those.items() if isinstance(one.change, EgressChange)
                           and within(rule, one.change.rules[0])), None) for rule in change.rules)  # fmt: skip
    if isinstance(change, CapabilityChange):
        asked = change.capability
        return () if asked.fragment else _each(
            next((index for index, one in those.items() if isinstance(one.change, CapabilityChange)
                  and one.change.capability.kind == asked.kind and item in one.change.capability.items), None)
            for item in asked.items
        )  # fmt: skip
    if isinstance(change, BudgetChange):
        total = granted_bytes + change.egress_bytes
        return tuple(index for index, one in those.items()
                     if isinstance(one.change, BudgetChange) and total <= one.change.egress_bytes)[:1]  # fmt: skip
    return tuple(index for index, one in those.items()
                 if isinstance(one.change, CredentialChange) and narrower(change, one.change))[:1]  # fmt: skip


def _each(found: Iterable[int | None]) -> tuple[int, ...]:
    """All of them, or none when one is missing."""
    all_found = list(found)
    return () if None in all_found else tuple(sorted({index for index in all_found if index is not None}))
