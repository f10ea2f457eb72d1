"""A few lines to type: a reason, a time, the fields of a change. Gives their texts back, or None when it was left."""

from __future__ import annotations

from collections.abc import Sequence

from rich.style import Style
from textual import events
from textual.app import ComposeResult
from textual.containers import VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Input

from claude_bottle.dashboard.tui.bar import Bar

_LIMIT = 2000


class Form(ModalScreen[list[str] | None]):
    DEFAULT_CSS = """
    Form { align: center middle; }
    Form > VerticalScroll { width: 76; max-width: 100%; height: auto; max-height: 100%; border: round ansi_default;
                            padding: 0 1; }
    Form Input { border: none; height: 1; padding: 0; background: ansi_default; text-style: underline; }
    """

    def __init__(self, title: str, fields: Sequence[tuple[str, str]]) -> None:
        super().__init__()
        self._title, self._fields = title, fields

    def compose(self) -> ComposeResult:
        with VerticalScroll(can_focus=False):
            yield _said(self._title, Style(bold=True))
            for label, value in self._fields:
                yield _said(label, Style(dim=True))
                yield Input(value, max_length=_LIMIT, compact=True, select_on_focus=False)
            yield _said("[enter] done   [tab] next   [esc] back", Style(dim=True))

    def on_mount(self) -> None:
        self.query(Input).first().focus()

    def on_input_submitted(self) -> None:
        self.dismiss([one.value for one in self.query(Input)])

    def on_key(self, event: events.Key) -> None:
        if event.key in ("escape", "ctrl+c"):
            event.stop()
            self.dismiss(None)


def _said(text: str, style: Style) -> Bar:
    bar = Bar()
    bar.say([(text, style)])
    return bar
