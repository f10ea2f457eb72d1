"""A dialog that decides something: its text, the operator's marker, and keys that count only when they are meant.

Which keys count when is decided by `deciding`; this shows it. What a key does is a subclass's, one method each. Pastes are
dropped whole, the mouse is not used, and there is no default: leaving a dialog leaves everything as it was.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import ClassVar

from rich.style import Style
from textual import events
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.screen import ModalScreen

from claude_bottle.dashboard import lines
from claude_bottle.dashboard.deciding import Deciding
from claude_bottle.dashboard.lines import Line
from claude_bottle.dashboard.tui.bar import Bar
from claude_bottle.dashboard.tui.text import Lines

BOLD, DIM = Style(bold=True), Style(dim=True)
NOTE_WIDTH = 74
_BEAT = 0.1
NOT_YET, MOMENT, READY = "read it to its end first: space, ↓", "one moment …", "ready"
TOO_NARROW = "the terminal is too narrow to show this whole: make it 80 columns wide"
LEAVE = ("escape", "ctrl+c")


class Dialog(ModalScreen[None], inherit_bindings=False):
    """`keys` are the keys that decide, with what the dialog says of each."""

    DEFAULT_CSS = """
    Dialog { align: center middle; }
    Dialog > Vertical { width: 80; max-width: 100%; height: auto; max-height: 100%; border: round ansi_default; }
    Dialog Lines { height: auto; max-height: 100%; min-height: 1; padding: 0 1; }
    Dialog #text { height: 1fr; }
    Dialog #note { height: auto; max-height: 4; padding: 0 1; margin: 1 0 0 0; }
    """
    keys: ClassVar[dict[str, str]] = {}

    def __init__(self, title: str, marker: str) -> None:
        super().__init__()
        self._title, self._marker = title, marker
        self.frame, self.head, self.foot = Vertical(id="frame"), Bar(), Bar()
        self.text, self.note = Lines(id="text"), Lines(id="note")
        self.text.can_focus = self.note.can_focus = False
        self.deciding = Deciding(0)
        self.over = ""
        """Why there is nothing to decide (any more)."""
        self.told = ""
        """What went wrong last, until a key is pressed."""
        self._cut = False

    def compose(self) -> ComposeResult:
        with self.frame:
            yield self.head
            yield self.text
            yield self.note
            yield self.foot

    def on_mount(self) -> None:
        self._fit()
        self.say()
        self.set_interval(_BEAT, self._beat)

    def put(self, text: Sequence[Line], title: str = "") -> None:
        """Show this to be decided upon, from its beginning; what was seen of something else does not count."""
        self._title = title or self._title
        self.over = ""
        self.text.show(text)
        self.deciding = Deciding(len(text))
        self.text.scroll_to(y=0, animate=False, force=True)
        self._fit()
        self.text.call_after_refresh(self.text.tell)
        self.say()

    def chosen(self, key: str) -> None:
        """A key has decided."""
        raise NotImplementedError

    def say(self) -> None:
        """Title, note and keys, as things stand."""
        ready = not self._cut and self.deciding.complete and self.deciding.armed and not self.over
        stand = READY if ready else TOO_NARROW if self._cut else MOMENT if self.deciding.complete else NOT_YET
        notes = [*([self.told] if self.told else []), self.over or stand]
        keys = [] if self.over else [(f"[{key}] {label} ", BOLD if ready else DIM) for key, label in self.keys.items()]
        self.head.say([(f" {self._title}", BOLD)], [(f" ◆ {self._marker} ", BOLD)])
        tone = lines.DIM if ready and not self.told else lines.WIDE
        self.note.show([lines.line(text, tone) for note in notes for text in lines.wrapped(note, NOTE_WIDTH)])
        self._fit()
        self.foot.say([(" ", DIM), *keys, ("[esc] close" if self.over else "[esc] later", DIM)])

    def on_lines_shown(self, shown: Lines.Shown) -> None:
        shown.stop()
        if shown.version != self.text.version or shown.sender is not self.text:
            return
        self._cut = not shown.whole
        if shown.whole:
            self.deciding.window(shown.first, shown.end)
        self.say()

    def on_key(self, event: events.Key) -> None:
        event.stop()
        event.prevent_default()
        self.told = ""
        if event.key in LEAVE:
            self.dismiss()
        elif self.text.step(event.key):
            self.deciding.disturbed(event.time)
        elif event.key not in self.keys or self.over or not self.deciding.complete or self._cut:
            self.deciding.pasted(event.time)
        else:
            self.deciding.typed(event.key, event.time)
        self.say()

    def on_paste(self, event: events.Paste) -> None:
        event.stop()
        self.deciding.pasted(event.time)
        self.say()

    def on_resize(self) -> None:
        self._fit()

    def _fit(self) -> None:
        """As high as its text, up to the whole screen."""
        wanted = len(self.text.lines) + min(len(self.note.lines), 4) + 5
        self.frame.styles.height = min(wanted, max(self.app.size.height, 5))

    def _beat(self) -> None:
        # Not while another dialog lies above: then this one is not what the operator looks at.
        if self.app.screen is not self:
            self.deciding.pasted(time.monotonic())
            return
        was, key = self.deciding.armed, self.deciding.beat(time.monotonic())
        if key is not None and not self.over and self.deciding.complete and not self._cut:
            self.chosen(key)
        if was != self.deciding.armed:
            self.say()
