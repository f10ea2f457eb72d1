"""What a bottle may reach: the rules of its plan and those of the grants in force, and what does not go together.

Conflicts are found before anything is approved, and said; a policy that would be unsound is never made. Pure.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from claude_bottle.model.changes import BudgetChange, CredentialChange, EgressChange, MoneyChange, within
from claude_bottle.model.matching import conflicts
from claude_bottle.model.prices import MICROS
from claude_bottle.model.requests import ONCE

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from claude_bottle.model.changes import Change
    from claude_bottle.model.policy import Rule
    from claude_bottle.model.requests import Grant

# Listeners that every bottle with a gate has.
USUAL_PORTS = frozenset({80, 443})


def rules_of(change: Change) -> tuple[Rule, ...]:
    """The rules that a change brings."""
    if isinstance(change, EgressChange):
        return change.rules
    return (change.rule,) if isinstance(change, CredentialChange) else ()


def compose(plan: Sequence[Rule], grants: Iterable[Grant]) -> tuple[Rule, ...]:
    """All rules, those of grants marked with where they come from. What has ended does not count."""
    return (*plan, *(rule for one in grants if not one.ended for rule in one.rules))


def problems(plan: Sequence[Rule], grants: Iterable[Grant], change: Change) -> list[str]:
    """What of `change` contradicts what is granted already, one sentence each."""
    before = compose(plan, grants)
    known = set(conflicts(before))
    return [words for words in conflicts((*before, *rules_of(change))) if words not in known]


def granted_already(plan: Sequence[Rule], grants: Iterable[Grant], change: Change) -> bool:
    """Whether all that `change` asks for is in force for good. A use that is left of a `once` does not count."""
    wanted = rules_of(change)
    have = compose(plan, [one for one in grants if one.scope != ONCE])
    return bool(wanted) and all(any(within(rule, one) for one in have) for rule in wanted)


def new_ports(rules: Iterable[Rule], open_ports: Iterable[int]) -> tuple[int, ...]:
    """The ports among those of `rules` that nobody listens on yet, sorted."""
    return tuple(sorted({rule.port for rule in rules} - USUAL_PORTS - set(open_ports)))


def granted_bytes(grants: Iterable[Grant]) -> int:
    """What grants add to the budget of bytes."""
    return sum(one.change.egress_bytes for one in grants if not one.ended and isinstance(one.change, BudgetChange))


def granted_money(grants: Iterable[Grant]) -> int:
    """What grants add to the budget of money, in millionths of a dollar."""
    return sum(round(one.change.usd * MICROS) for one in grants if not one.ended and isinstance(one.change, MoneyChange))
