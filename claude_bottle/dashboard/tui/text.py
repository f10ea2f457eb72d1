"""The one widget that shows text: lines, one under the other, with or without a cursor.

Every line goes to the terminal as one segment of plain text, made printable once more: Textual's markup never sees it
(threat 73). The lines on the screen are told to whoever wants to know (`Shown`), because an approval needs all of them to
have been there. Keys are handled here and nowhere declared, so that a page or dialog sees each key with its time.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.geometry import Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip

from claude_bottle.dashboard.lines import BAD, DIM, GOOD, HEAD, STRONG, WIDE, Line
from claude_bottle.redact import columns, printable

STYLES = {
    "": Style.null(), GOOD: Style(color="green"), WIDE: Style(color="yellow"), BAD: Style(color="red"),
    DIM: Style(dim=True), HEAD: Style(bold=True, dim=True), STRONG: Style(bold=True),
}  # fmt: skip
CURSOR = Style(reverse=True)
_MARK, _NO_MARK = "▸ ", "  "
_STEPS = {"up": -1, "down": 1, "k": -1, "j": 1}


class Lines(ScrollView, can_focus=True, inherit_bindings=False):
    """`cursor`: lines with a key can be chosen. `follow`: new lines at the end are scrolled to, until one scrolls up."""

    class Shown(Message):
        """The lines `first` to `end` of what was shown as the `version`th are on the screen; `whole` if none is cut."""

        def __init__(self, sender: Lines, first: int, end: int, whole: bool) -> None:
            super().__init__()
            self.sender, self.version, self.first, self.end, self.whole = sender, sender.version, first, end, whole

    class Moved(Message):
        """The cursor stands on another line."""

    DEFAULT_CSS = """
    Lines { overflow-x: hidden; overflow-y: auto; scrollbar-size-vertical: 1; }
    """

    def __init__(self, *, cursor: bool = False, follow: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._lines: list[Line] = []
        self._has_cursor, self._follow = cursor, follow
        self._at = 0
        self._widest = 0
        self.version = 0

    @property
    def chosen(self) -> Any:
        """The key of the line under the cursor; None when there is none."""
        return self._lines[self._at].key if self._has_cursor and self._at < len(self._lines) else None

    @property
    def lines(self) -> Sequence[Line]:
        return self._lines

    def show(self, lines: Sequence[Line]) -> None:
        """Show these lines; the cursor stays on what it stood on."""
        if list(lines) == self._lines:
            return
        key, at_end = self.chosen, self.scroll_offset.y >= self.max_scroll_y
        cursor_at_end = self._at >= len(self._lines) - 1
        self._lines = list(lines)
        self.version += 1
        self._widest = max((columns(one.text) for one in self._lines), default=0)
        self.virtual_size = Size(0, len(self._lines))
        if self._has_cursor:
            self._keep_cursor(key, self._follow and cursor_at_end)
        elif self._follow and at_end:
            self.call_after_refresh(self.scroll_end, animate=False)
        self.refresh()
        self.call_after_refresh(self.tell)

    def render_line(self, y: int) -> Strip:
        index = self.scroll_offset.y + y
        width = self.size.width
        if index >= len(self._lines):
            return Strip.blank(width)
        shown = self._lines[index]
        style = STYLES.get(shown.tone, Style.null())
        text = printable(shown.text)
        if self._has_cursor:
            here = index == self._at and shown.key is not None
            text = (_MARK if here else _NO_MARK) + text
            style = style + CURSOR if here and self.has_focus else style
        return Strip([Segment(printable(text, width=width), style)]).adjust_cell_length(width, style)

    def on_key(self, event: events.Key) -> None:
        if self.step(event.key):
            event.stop()
            event.prevent_default()

    def step(self, key: str) -> bool:
        """Scroll or move the cursor; whether the key does that."""
        page = max(self.size.height - 1, 1)
        distance = _STEPS.get(key) or {"pageup": -page, "pagedown": page, "space": page}.get(key)
        last = len(self._lines)
        if distance is None and key not in ("home", "end"):
            return False
        if self._has_cursor:
            self._move(distance if distance is not None else last if key == "end" else -last)
        elif distance is not None:
            self.scroll_relative(y=distance, animate=False, force=True)
        else:
            self.scroll_to(y=self.max_scroll_y if key == "end" else 0, animate=False, force=True)
        return True

    def watch_scroll_y(self, old_value: float, new_value: float) -> None:
        super().watch_scroll_y(old_value, new_value)
        self.call_after_refresh(self.tell)

    def on_resize(self) -> None:
        self.call_after_refresh(self.tell)

    def tell(self) -> None:
        """After what is told has been drawn."""
        height = self.size.height
        if self.is_attached and height:
            first = round(self.scroll_offset.y)
            whole = self._widest <= self.size.width
            self.post_message(self.Shown(self, first, min(first + height, len(self._lines)), whole))

    def _keep_cursor(self, key: Any, to_end: bool) -> None:
        keys = [index for index, one in enumerate(self._lines) if one.key is not None]
        same = next((index for index in keys if self._lines[index].key == key), None) if key is not None else None
        if to_end and keys:
            self._at = keys[-1]
        elif same is not None:
            self._at = same
        else:
            self._at = min(keys, key=lambda index: abs(index - self._at), default=0)
        self.call_after_refresh(self._reveal)
        self.post_message(self.Moved())

    def _move(self, distance: int) -> None:
        keys = [index for index, one in enumerate(self._lines) if one.key is not None]
        if not keys:
            return
        here = min(range(len(keys)), key=lambda place: abs(keys[place] - self._at))
        self._at = keys[max(0, min(here + distance, len(keys) - 1))]
        self._reveal()
        self.refresh()
        self.post_message(self.Moved())

    def _reveal(self) -> None:
        """Scroll so that the cursor is on the screen; at the first line, the head too."""
        top, height = round(self.scroll_offset.y), self.size.height
        first_key = next((index for index, one in enumerate(self._lines) if one.key is not None), 0)
        if self._at == first_key:
            self.scroll_to(y=0, animate=False, force=True)
        elif self._at < top:
            self.scroll_to(y=self._at, animate=False, force=True)
        elif height and self._at >= top + height:
            self.scroll_to(y=self._at - height + 1, animate=False, force=True)
