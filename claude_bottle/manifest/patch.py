"""What a manifest's text becomes when a bottle in it shall grant, from now on, what was granted to a running one.

Only what is not there yet is added: rules, the definition of a credential, capabilities, more of the budget. Nothing is
taken away and nothing rewritten, see `edit`. What comes out is judged by loading it, like any manifest. Pure.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from claude_bottle.errors import BottleError
from claude_bottle.manifest import edit
from claude_bottle.model.changes import (
    BudgetChange,
    CapabilityChange,
    Change,
    CredentialChange,
    EgressChange,
    MoneyChange,
    change_from_dict,
    narrower,
)
from claude_bottle.model.policy import INSPECT, Rule

_SIZE = re.compile(r"([0-9]{1,15})([kmgt]?)b?", re.IGNORECASE)
_UNITS = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}


def patched(text: str, bottle: str, changes: Sequence[Change], definitions: Mapping[str, object]) -> str:
    """`text` with these changes in the bottle called `bottle`, the same text when it grants all of it already.
    `definitions` are credentials by name, as a manifest writes them, for those the bottle does not define. BottleError for
    what cannot be written there."""
    for change in changes:
        if isinstance(change, EgressChange):
            for rule in change.rules:
                text = _with_rule(text, bottle, EgressChange((rule,)), rule)
        elif isinstance(change, CredentialChange):
            text = _with_definition(text, bottle, change.name, definitions)
            text = _with_rule(text, bottle, change, change.rule)
        elif isinstance(change, CapabilityChange):
            text = _with_capability(text, bottle, change.capability.to_dict())
        elif isinstance(change, BudgetChange):
            text = _with_budget(text, bottle, change.egress_bytes)
        elif isinstance(change, MoneyChange):
            text = _with_money(text, bottle, change.usd)
    return text


def _with_rule(text: str, bottle: str, wanted: Change, rule: Rule) -> str:
    if any(narrower(wanted, had) for had in _granted(_bottle(text, bottle).get("egress", []))):
        return text
    return _listed(text, bottle, "egress", _rule_doc(rule))


def _with_definition(text: str, bottle: str, name: str, definitions: Mapping[str, object]) -> str:
    defined = _bottle(text, bottle).get("credentials")
    if name not in definitions or (isinstance(defined, dict) and name in defined):
        return text
    if defined is None:
        return edit.put(text, ("bottles", bottle), "credentials", {name: definitions[name]})
    return edit.put(text, ("bottles", bottle, "credentials"), name, definitions[name])


def _with_capability(text: str, bottle: str, wanted: Mapping[str, object]) -> str:
    return text if wanted in _bottle(text, bottle).get("capabilities", []) else _listed(text, bottle, "capabilities", wanted)


def _with_budget(text: str, bottle: str, more: int) -> str:
    place = ("bottles", bottle)
    budget = _bottle(text, bottle).get("budget")
    if budget is None:
        raise BottleError(f"the bottle {bottle} has no budget to raise", why="without one nothing is counted")
    if "egress_bytes" not in budget:
        raise BottleError(f"the bottle {bottle} has no budget of egress bytes to raise", why="without one nothing is counted")
    return edit.replace(text, (*place, "budget", "egress_bytes"), _size(_bytes(budget["egress_bytes"]) + more))


def _with_money(text: str, bottle: str, more: float) -> str:
    budget = _bottle(text, bottle).get("budget")
    if not isinstance(budget, dict) or "usd" not in budget:
        raise BottleError(f"the bottle {bottle} has no budget of money to raise", why="without one nothing bounds it")
    return edit.replace(text, ("bottles", bottle, "budget", "usd"), round(budget["usd"] + more, 2))


def _listed(text: str, bottle: str, key: str, value: object) -> str:
    if key in _bottle(text, bottle):
        return edit.append(text, ("bottles", bottle, key), value)
    # An empty list first, so that what goes into it is laid out like any other.
    with_list = edit.put(text, ("bottles", bottle), key, [])
    return edit.append(with_list, ("bottles", bottle, key), value)


def _bottle(text: str, bottle: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(text)["bottles"][bottle]
    return found


def _granted(docs: Sequence[Mapping[str, Any]]) -> list[Change]:
    """The rules that are written out, one change each; presets are none."""
    found: list[Change] = []
    for doc in docs:
        rule = {key: value for key, value in doc.items() if key != "note"}
        place = [(str(rule.get("host")), int(rule.get("port", 443)))]
        said = {"kind": "credential", "rule": rule} if rule.get("credential") else {"kind": "egress", "rules": [rule]}
        try:
            found.append(change_from_dict(said, operator_named=place))
        except ValueError:
            continue
    return found


def _rule_doc(rule: Rule) -> dict[str, object]:
    """As short as a person would write it."""
    doc: dict[str, object] = {"host": rule.host}
    doc |= {"port": rule.port} if rule.port != 443 else {}
    doc |= {"methods": list(rule.methods)} if rule.methods else {}
    doc |= {"paths": list(rule.paths)} if rule.paths else {}
    doc |= {"tls": rule.tls} if rule.tls != INSPECT else {}
    doc |= {"websocket": True} if rule.websocket else {}
    return doc | ({"credential": rule.credential} if rule.credential else {})


def _bytes(value: object) -> int:
    if type(value) is int:
        return value
    match = _SIZE.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise BottleError("the manifest's budget is not a size")
    return int(match[1]) * _UNITS[match[2].lower()]


def _size(count: int) -> object:
    """In the largest unit that says it exactly; a number of bytes as a number."""
    for unit in ("g", "m", "k"):
        if count % _UNITS[unit] == 0:
            return f"{count // _UNITS[unit]}{unit}"
    return count
