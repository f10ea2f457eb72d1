"""A change as a few fields an operator can edit, and back. Pure.

A field says `any`, or words; a rule whose methods (or whose use) are `none` is left out. What comes back is checked by the
change itself, and by the keeper against what was asked for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from claude_bottle.model.changes import change_from_dict

ANY, NONE = "any", "none"


class Field(NamedTuple):
    label: str
    value: str
    name: tuple[Any, ...]
    """Of what in the change it is: (index of the rule, key), or (key,)."""


def fields(change: Mapping[str, Any]) -> list[Field]:
    """What can be narrowed; none for a change that is approved as it is or not at all."""
    if change.get("kind") == "money":
        return [Field("dollars", f"{change.get('usd')}", ("usd",))]
    if change.get("kind") == "budget":
        return [Field("egress bytes", str(change.get("egress_bytes")), ("egress_bytes",))]
    made = []
    for index, rule in enumerate(_rules(change)):
        place = f"{rule.get('host')}:{rule.get('port')}"
        if rule.get("tls") == "tunnel":
            made.append(Field(f"{place} tunnel", ANY, (index, "methods")))
            continue
        for key in ("methods", "paths"):
            made.append(Field(f"{place} {key}", " ".join(rule.get(key) or ()) or ANY, (index, key)))
    return made


def narrowed(change: Mapping[str, Any], values: Sequence[tuple[Field, str]]) -> dict[str, Any]:
    """The change with these values in its fields. ValueError in words for what is no change."""
    if change.get("kind") == "money":
        try:
            return change_from_dict({**change, "usd": float(values[0][1])}).to_dict()
        except ValueError:
            raise ValueError("write a number of dollars, to the cent") from None
    if change.get("kind") == "budget":
        text = values[0][1].strip()
        if not text.isascii() or not text.isdigit():
            raise ValueError("write a number of bytes")
        return change_from_dict({**change, "egress_bytes": int(text)}).to_dict()
    rules: list[dict[str, Any] | None] = [dict(rule) for rule in _rules(change)]
    for field, value in values:
        index, key = field.name
        rule, words = rules[index], value.split()
        if words == [NONE]:
            rules[index] = None
        elif rule is not None:
            rule[key] = [] if words in ([], [ANY]) else words
    left = [rule for rule in rules if rule is not None]
    if not left:
        raise ValueError("nothing is left to grant; reject it instead")
    single = change.get("kind") == "credential"
    made = {"kind": "credential", "rule": left[0]} if single else {"kind": "egress", "rules": left}
    places = [(str(rule.get("host")), int(rule.get("port", 443))) for rule in left]
    return change_from_dict(made, operator_named=places).to_dict()


def _rules(change: Mapping[str, Any]) -> list[dict[str, Any]]:
    found = {"egress": change.get("rules"), "credential": [change.get("rule")]}.get(str(change.get("kind")))
    return [rule for rule in found if isinstance(rule, dict)] if isinstance(found, list) else []
