"""The pages: a list on the left, on a wide terminal what the chosen line stands for on the right.

A page asks the view models for its lines when it is looked at and when something has changed; a page that is not shown
costs nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from textual.app import ComposeResult
from textual.containers import Horizontal

from claude_bottle.dashboard import asking, bottles
from claude_bottle.dashboard.board import Board, Item
from claude_bottle.dashboard.lines import DIM, Line, line
from claude_bottle.dashboard.tui.text import Lines

SIDE = 80
"""Columns of the right half: enough for what is decided upon."""
SIDE_FROM = 150
"""Columns from which on there is room for both halves."""


class Page(Horizontal):
    """`of_one`: of the chosen bottle, not of all; `short` is its name where there is little room, `sided` whether
    there is anything to show beside its lines."""

    DEFAULT_CSS = """
    Page { height: 1fr; }
    Page > .list { width: 1fr; height: 1fr; }
    Page > .side { width: 80; height: 1fr; padding: 0 1; border-left: solid ansi_bright_black; display: none; }
    Page.wide > .side { display: block; }
    """
    name_, short, hints, of_one = "", "", "", False
    follow, cursor, sided = False, True, True

    def __init__(self, board: Board) -> None:
        super().__init__()
        self.board = board
        self.list = Lines(cursor=self.cursor, follow=self.follow, classes="list")
        self.side = Lines(classes="side")
        self.side.can_focus = False
        self.identity = ""

    def compose(self) -> ComposeResult:
        yield self.list
        yield self.side

    def look(self, identity: str) -> None:
        """Show what is now, of this bottle if the page is of one."""
        self.identity = identity
        self.list.show(self.lines())
        self.show_side()

    def show_side(self) -> None:
        self.set_class(self.sided and self.app.size.width >= SIDE_FROM, "wide")
        if self.has_class("wide"):
            self.side.show(self.detail(self.list.chosen))

    def on_lines_moved(self) -> None:
        self.show_side()

    def lines(self) -> Sequence[Line]:
        raise NotImplementedError

    def detail(self, key: Any) -> Sequence[Line]:
        return []

    def pressed(self, key: str) -> bool:
        """A key that is this page's own; whether it is."""
        return False

    @property
    def width(self) -> int:
        side = SIDE if self.sided and self.app.size.width >= SIDE_FROM else 0
        return self.app.size.width - side - 3


class Bottles(Page):
    name_, short, hints = "bottles", "bottles", "[enter] open"

    def lines(self) -> Sequence[Line]:
        return bottles.lines(self.board, self.width)

    def detail(self, key: Any) -> Sequence[Line]:
        watched = self.board.bottles.get(key) if isinstance(key, str) else None
        return bottles.detail(watched) if watched else []


class Requests(Page):
    name_, short, hints = "requests", "asks", "[enter] read and decide"

    def lines(self) -> Sequence[Line]:
        return asking.lines(self.board)

    def detail(self, key: Any) -> Sequence[Line]:
        item = self.item(key)
        if item is None:
            return []
        return [*asking.text(item.identity, item.view), line(""), line(asking.stand(item.view), DIM)]

    def item(self, key: Any) -> Item | None:
        return self.board.item(key) if isinstance(key, tuple) else None
