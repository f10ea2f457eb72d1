"""A text to read over the page it belongs to; any leaving key goes back."""

from __future__ import annotations

from collections.abc import Sequence

from rich.style import Style
from textual import events
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.screen import ModalScreen

from claude_bottle.dashboard.lines import Line
from claude_bottle.dashboard.tui.bar import Bar
from claude_bottle.dashboard.tui.text import Lines


class Reading(ModalScreen[None], inherit_bindings=False):
    DEFAULT_CSS = """
    Reading { align: center middle; }
    Reading > Vertical { width: 80; max-width: 100%; height: 80%; border: round ansi_default; padding: 0 1; }
    Reading Lines { height: 1fr; }
    """

    def __init__(self, title: str, lines: Sequence[Line]) -> None:
        super().__init__()
        self._title, self._lines = title, lines
        self.text = Lines()
        self.text.can_focus = False

    def compose(self) -> ComposeResult:
        with Vertical():
            title, keys = Bar(), Bar()
            title.say([(self._title, Style(bold=True))])
            keys.say([("[space] further   [esc] back", Style(dim=True))])
            yield title
            yield self.text
            yield keys

    def on_mount(self) -> None:
        self.text.show(self._lines)

    def on_key(self, event: events.Key) -> None:
        event.stop()
        if event.key in ("escape", "q", "enter", "ctrl+c"):
            self.dismiss()
        else:
            self.text.step(event.key)
