"""The page of what a bottle tries to reach, as it happens, and the grant that a refused line suggests. Pure.

The suggestion is the narrowest thing that lets this very request through, made of what the gate judged, in its canonical
form; it is shown whole and decided upon like a request.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from claude_bottle.dashboard.lines import BAD, DIM, GOOD, WIDE, Line, line
from claude_bottle.model import events
from claude_bottle.model.changes import change_from_dict
from claude_bottle.model.policy import (
    HOST_NOT_GRANTED,
    METHOD_NOT_GRANTED,
    PATH_NOT_GRANTED,
    PORT_NOT_GRANTED,
)

# What one more rule helps against; everything else is refused for another reason than a missing grant.
GRANTABLE = frozenset({HOST_NOT_GRANTED, PORT_NOT_GRANTED, METHOD_NOT_GRANTED, PATH_NOT_GRANTED})


def lines(found: Iterable[dict[str, Any]]) -> list[Line]:
    """One line an event of the gate. `key` is the event."""
    return [_line(event) for event in found if event["kind"] in events.EGRESS]


def suggestion(event: dict[str, Any]) -> dict[str, Any] | None:
    """The change (as data) that would let this refused name, connection or request through; None when no grant would."""
    data = event.get("data")
    if event.get("kind") not in (events.DECISION, events.DNS) or not isinstance(data, dict):
        return None
    if data.get("allow") is not False or data.get("reason") not in GRANTABLE:
        return None
    rule: dict[str, Any] = {"host": data.get("host") or data.get("name"), "port": data.get("port") or 443}
    if data.get("method"):
        rule["methods"] = [data["method"]]
    if data.get("path") and data["reason"] == PATH_NOT_GRANTED:
        rule["paths"] = [data["path"]]
    try:
        return change_from_dict({"kind": "egress", "rules": [rule]}).to_dict()
    except ValueError:
        return None


def _line(event: dict[str, Any]) -> Line:
    data = event["data"]
    at = str(event["wall"])[11:19]
    if event["kind"] == events.TRAFFIC:
        sizes = f"{data.get('up', 0)} B up, {data.get('down', 0)} B down, {data.get('ms', 0)} ms"
        return line(f"  {at}               {_place(data)}  {sizes} {data.get('why') or ''}", DIM, event)
    if data.get("allow"):
        return line(f"✓ {at}  granted      {_place(data)}", GOOD, event)
    grantable = suggestion(event) is not None
    said = f"✗ {at}  refused{' [g]' if grantable else '    '}  {_place(data)}  {data.get('reason', '')}"
    return line(said, WIDE if grantable else BAD, event)


def _place(data: dict[str, Any]) -> str:
    if "name" in data:
        return f"{data['name']} (name)"
    where = f"{data.get('host') or '?'}:{data.get('port') or '?'}"
    return " ".join(str(word) for word in (data.get("method"), where, data.get("path")) if word)
