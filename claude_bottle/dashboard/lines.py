"""A line of a page: text for people, how it is toned, and what it stands for. Pure.

Every text is made printable here, once more than need be: whatever an agent wrote, it is text and acts on nothing. A tone
is never the only sign of what it says (NO_COLOR).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from claude_bottle.redact import columns, printable

GOOD, WIDE, BAD, DIM, HEAD, STRONG = "good", "wide", "bad", "dim", "head", "strong"
WIDTH = 76
"""Of what must be read whole: fits a terminal of 80 columns with a frame around it."""


class Line(NamedTuple):
    """`key` is what the line stands for, equal for the same thing later; None for a line that stands for nothing."""

    text: str
    tone: str = ""
    key: Any = None


def line(text: str, tone: str = "", key: Any = None, *, width: int | None = None) -> Line:
    return Line(printable(text, width=width), tone, key)


def cells(values: Iterable[tuple[str, int]]) -> str:
    """Aligned columns: each value cut or filled to its width; the last one's width counts as a bound only."""
    made = []
    for text, width in values:
        cut = printable(text, width=width)
        made.append(cut + " " * max(width - columns(cut), 0))
    return " ".join(made).rstrip()


def wrapped(text: str, width: int = WIDTH, *, first: str = "", rest: str = "") -> list[str]:
    """`text` in lines of at most `width` columns, nothing left out, the first one after `first`, the others after `rest`.
    Line breaks of the text stay. Words longer than a line are broken."""
    made: list[str] = []
    for paragraph in printable(text, keep_newlines=True).replace("\t", "    ").split("\n"):
        left = paragraph
        while True:
            head = first if not made else rest
            part, left = _split(left, max(width - columns(head), 1))
            made.append(head + part)
            if not left:
                break
    return made


def _split(text: str, width: int) -> tuple[str, str]:
    """As much of `text` as goes into `width` columns, at a blank if there is one, and the rest."""
    if columns(text) <= width:
        return text, ""
    used = end = 0
    for char in text:
        used += columns(char)
        if used > width:
            break
        end += 1
    end = max(end, 1)
    blank = text.rfind(" ", 1, end + 1)
    if blank > 0:
        return text[:blank], text[blank + 1 :]
    return text[:end], text[end:]
