"""The page of requests, and the one text an operator decides upon. Pure.

What would change comes from the keeper's view, which it rendered from the structured change; what the agent says about it
stands last, every line of it marked as the agent's, so that it can be taken for nothing of ours (threats 67, 72).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from claude_bottle.dashboard.board import Board, Item
from claude_bottle.dashboard.lines import BAD, DIM, GOOD, HEAD, STRONG, WIDE, Line, cells, line, wrapped

_COLUMNS = (("STATE", 10), ("BOTTLE", 20), ("SINCE", 8), ("ASKS", 400))
_TONES = {"submitted": STRONG, "approved": WIDE, "applied": GOOD, "failed": BAD, "rejected": BAD}
_SAID = {"submitted": "! waiting", "approved": "· going on", "applied": "✓ applied", "failed": "✗ failed",
         "rejected": "✗ rejected", "expired": "  expired", "superseded": "  replaced"}  # fmt: skip
AGENTS = "agent says │ "


def lines(board: Board) -> list[Line]:
    """A head and one line a request. `key` is the item's."""
    items = board.requests
    if not items:
        return [line("no agent has asked for anything", DIM)]
    head = line(cells((title, size) for title, size in _COLUMNS), HEAD)
    return [head, *(_row(item) for item in items)]


def text(identity: str, view: Mapping[str, Any], *, narrowed: bool = False, credential: str = "") -> list[Line]:
    """All that one decides upon: what would change, from when on, what the bottle reaches then, what is odd about it; the
    agent's words last."""
    said = [line(text, STRONG) for text in wrapped(head(identity, view))]
    if narrowed:
        said.append(line("narrowed by you: this is what would be granted", WIDE))
    if credential:
        said += [line(part, WIDE) for part in wrapped(f"with your credential {credential}")]
    said += [line(""), *(line(text, GOOD if text.startswith("+") else "") for text in _each(view.get("lines"))), line("")]
    if view.get("approved"):
        said.append(line("approved was less, this is all of it:", WIDE))
        said += [*(line(text) for text in _each(view["approved"])), line("")]
    said += _labelled("effect", [view.get("effect", "")], "")
    said += _labelled("reach", view.get("reach"), "")
    said += _labelled("warning", view.get("warnings"), WIDE)
    if view.get("outcome"):
        said += _labelled("outcome", str(view["outcome"]).split("\n"), "")
    if view.get("reason"):
        said += [line(""), *(line(text, DIM) for text in wrapped(str(view["reason"]), first=AGENTS, rest=" " * 11 + "│ "))]
    return said


def head(identity: str, view: Mapping[str, Any]) -> str:
    if view.get("via") == "operator":
        return f"you grant {identity} {view.get('title', '')}"
    return f"{identity} asks for {view.get('title', '')}"


def stand(view: Mapping[str, Any]) -> str:
    """In one line what became of a request that is no longer open to a decision."""
    scope = f" ({view['scope']})" if view.get("scope") else ""
    words = {"submitted": "waiting for a decision", "approved": f"already decided: approved{scope}, being carried out",
             "applied": f"already decided: approved{scope} and in force", "failed": "approved, and failed",
             "rejected": "already decided: rejected", "expired": "no longer asked: it has expired",
             "superseded": "no longer asked: a newer request replaces it"}  # fmt: skip
    return words.get(str(view.get("state")), f"it is {view.get('state')}")


def _row(item: Item) -> Line:
    view = item.view
    values = (_SAID.get(item.state, item.state), item.identity, str(view.get("created", ""))[11:16],
              f"{view.get('title', '')}: {view.get('summary', '')}")  # fmt: skip
    return line(cells((value, size) for value, (_, size) in zip(values, _COLUMNS, strict=True)), _TONES.get(item.state, DIM),
                item.key)  # fmt: skip


def _labelled(label: str, values: object, tone: str) -> list[Line]:
    """One value a line, the label before the first."""
    found: list[Line] = []
    for value in values if isinstance(values, Sequence) and not isinstance(values, str) else ():
        head = f"{label:<9}" if not found else " " * 9
        found += [line(text, tone) for text in wrapped(str(value), first=head, rest=" " * 11)]
    return found


def _each(values: object) -> list[str]:
    """The lines of a view, each wrapped again: a keeper of another version may have had other widths."""
    texts = values if isinstance(values, Sequence) and not isinstance(values, str) else ()
    return [text for value in texts for text in wrapped(str(value), rest="    ")]
