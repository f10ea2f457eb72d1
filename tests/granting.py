"""An operator who gives a bottle a tool of their own idea, as the dashboard does: asked and approved in one go."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from claude_bottle.keeper.client import Control


def begin(control: Control, capability: dict[str, Any]) -> dict[str, Any]:
    """The message that grants it, by what this bottle may reach now."""
    change = {"kind": "capability", "capability": capability}
    return {"op": "grant", "change": change, "scope": "session", "revision": control.requests()["revision"]}


def views(control: Control, capability: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Its request, as often as it changes."""
    return control.decide(begin(control, capability))


def grant(control: Control, capability: dict[str, Any]) -> tuple[str, str]:
    """What became of it, and why."""
    *_, last = views(control, capability)
    return str(last["state"]), str(last["outcome"])
