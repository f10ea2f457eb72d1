"""The page of what was granted beyond the manifests, and the text of one grant. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from claude_bottle.dashboard.lines import DIM, GOOD, HEAD, STRONG, WIDE, Line, cells, line, wrapped

_COLUMNS = (("BOTTLE", 20), ("LASTS", 19), ("WHAT", 400))
Given = tuple[str, Mapping[str, Any]]
"""The identity of a bottle, and the view of one of its grants."""


def lines(found: Iterable[Given]) -> list[Line]:
    """A head and one line a grant: those in force, the newest first, then those that have ended. `key` is (identity, id)."""
    order = sorted(found, key=lambda one: str(one[1].get("created")), reverse=True)
    order.sort(key=lambda one: bool(one[1].get("ended")))
    if not order:
        return [line("nothing was granted beyond the manifests", DIM)]
    return [line(cells((title, size) for title, size in _COLUMNS), HEAD), *(_row(*one) for one in order)]


def text(identity: str, view: Mapping[str, Any]) -> list[Line]:
    """One grant, whole."""
    said = [line(text, STRONG) for text in wrapped(f"{identity} was granted {view.get('title', '')}")]
    found = view.get("lines")
    rows = found if isinstance(found, list) else []
    said += [line(""), *(line(text, GOOD) for row in rows for text in wrapped(str(row), rest="    ")), line("")]
    for label, value in (("lasts", lasts(view)), ("since", _minute(view.get("created"))), ("ended", view.get("ended")),
                         ("credential", view.get("credential")), ("grant", view.get("id")),
                         ("request", view.get("request"))):  # fmt: skip
        if value:
            said += [line(text) for text in wrapped(str(value), first=f"{label:<11}", rest=" " * 11)]
    return said


def lasts(view: Mapping[str, Any]) -> str:
    if view.get("expires"):
        return f"to {_minute(view['expires'])[5:]}"
    words = {"once": "one use", "session": "this session", "agent": "for this agent"}
    return words.get(str(view.get("scope")), str(view.get("scope")))


def _row(identity: str, view: Mapping[str, Any]) -> Line:
    ended = str(view.get("ended") or "")
    values = (identity, f"✗ {ended}" if ended else lasts(view), f"{view.get('title', '')}: {view.get('summary', '')}")
    tone = DIM if ended else WIDE if view.get("scope") == "agent" else ""
    return line(cells((value, size) for value, (_, size) in zip(values, _COLUMNS, strict=True)), tone,
                (identity, str(view.get("id"))))  # fmt: skip


def _minute(at: object) -> str:
    return f"{str(at)[:16].replace('T', ' ')} UTC"
