"""A line of ours at the edge of a screen: what it says is set by `say`, as segments of plain text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.segment import Segment
from rich.style import Style
from textual.strip import Strip
from textual.widget import Widget

from claude_bottle.redact import columns, printable

Part = tuple[str, Style]


class Bar(Widget):
    DEFAULT_CSS = "Bar { height: 1; }"

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._left: Sequence[Part] = ()
        self._right: Sequence[Part] = ()

    def say(self, left: Sequence[Part], right: Sequence[Part] = ()) -> None:
        """`right` stands at the right edge and is never pushed out of sight: `left` is cut for it."""
        if (left, right) != (self._left, self._right):
            self._left, self._right = left, right
            self.refresh()

    def render_line(self, y: int) -> Strip:
        right = [Segment(printable(text), style) for text, style in self._right]
        room = max(self.size.width - sum(columns(segment.text) for segment in right), 0)
        left = Strip([Segment(printable(text), style) for text, style in self._left]).adjust_cell_length(room)
        return Strip([*left, *right]).adjust_cell_length(self.size.width)
