"""Requests and grants as a person reads them: 80 columns, everything shown, the agent's own words last. Pure.

Views come from a keeper, printable already; each text passes the sanitiser once more, since a terminal is at stake.
"""

from __future__ import annotations

import textwrap
import time
from typing import Any

from claude_bottle.redact import columns, printable
from claude_bottle.state.record import unix_time

View = dict[str, Any]
WIDTH = 80
_LABEL = 10


def request_text(view: View) -> str:
    """One request, whole. What is to be approved stands first, each line as it was rendered."""
    head = f"{view['id']}  {view['identity']} asks for {view['title']}"
    lines = _spread(head, f"{_age(view['created'])}, {view['via']}")
    lines += [f"  {_plain(line)}" for line in view["lines"]]
    if view.get("approved"):
        lines += ["", "  approved was less, this is all of it:", *(f"  {_plain(line)}" for line in view["approved"])]
    lines.append("")
    if view["state"] != "submitted":
        state, *more = _state(view).split("\n")
        lines += _labelled("state", state)
        for line in more:
            lines += _labelled("", line)
    if view.get("progress"):
        lines += _labelled("building", view["progress"])
    lines += _labelled("effect", view["effect"])
    if view["reach"]:
        lines += ["  after it, the bottle can reach", *(f"  {_plain(line)}" for line in view["reach"])]
    for warning in view["warnings"]:
        lines += _labelled("warning", warning)
    return "\n".join([*lines, *_reason(view["reason"])])


def grant_text(identity: str, view: View) -> str:
    """One grant, whole."""
    until = f"until {view['expires'][:16]}Z" if view["expires"] else view["scope"]
    over = f"ended: {view['ended']}" if view["ended"] else until
    return "\n".join([*_spread(f"{view['id']}  {identity}  {over}", _age(view["created"])),
                      *(f"  {_plain(line)}" for line in view["lines"])])  # fmt: skip


def _reason(words: str) -> list[str]:
    """The agent's text, labelled as such; no line of it begins where ours do."""
    if not words.strip():
        return ["  the agent gave no reason"]
    said = ["  the agent says, in its own words:"]
    for line in printable(words, keep_newlines=True).split("\n"):
        said += [f"    | {piece}" for piece in _wrap(line, WIDTH - 6)] or ["    |"]
    return said


def _state(view: View) -> str:
    words = [view["state"], view["scope"], f"until {view['until']}" if view["until"] else "", view["outcome"]]
    return ", ".join(word for word in words if word)


def _labelled(label: str, text: str) -> list[str]:
    first, *rest = _wrap(_plain(text), WIDTH - 2 - _LABEL) or [""]
    return [f"  {label:<{_LABEL}}{first}", *(" " * (2 + _LABEL) + line for line in rest)]


def _wrap(text: str, width: int) -> list[str]:
    """By columns; a word that is longer is broken, nothing is dropped."""
    lines = textwrap.wrap(text, width, break_long_words=True, break_on_hyphens=False)
    return [piece for line in lines for piece in _by_columns(line, width)]


def _by_columns(line: str, width: int) -> list[str]:
    if columns(line) <= width:
        return [line]
    half = len(line) // 2
    return [*_by_columns(line[:half], width), *_by_columns(line[half:], width)]


def _spread(left: str, right: str) -> list[str]:
    left, right = _plain(left), _plain(right)
    gap = WIDTH - columns(left) - columns(right)
    return [left + " " * gap + right] if gap > 1 else [*_wrap(left, WIDTH), f"  {right}"]


def _age(created: str) -> str:
    at = unix_time(created)
    if at is None:
        return "at an unknown time"
    seconds = max(0, int(time.time() - at))
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{seconds // size} {unit} ago"
    return f"{seconds} s ago"


def _plain(text: object) -> str:
    return printable(str(text))
