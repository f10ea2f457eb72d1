"""The dashboard: pages, keys, and what keeps them up to date.

Keepers push what is asked of them (`board`), and what nobody pushes is looked at every second or two with a few cheap
calls; between that the process sleeps. Keys are handled in `on_key`, in one place for the pages and in each dialog for
itself. The terminal's own colours are used, and no meaning rests on colour alone.
"""

from __future__ import annotations

import asyncio
import signal
import threading
from typing import ClassVar

from rich.style import Style
from textual import events
from textual.app import App, ComposeResult
from textual.containers import Container

from claude_bottle.dashboard import asking, egress
from claude_bottle.dashboard.board import Board
from claude_bottle.dashboard.lines import WIDE, line, wrapped
from claude_bottle.dashboard.tui.aside import aside
from claude_bottle.dashboard.tui.bar import Bar
from claude_bottle.dashboard.tui.growing import Egress, JournalPage, Transcript, WatchPage
from claude_bottle.dashboard.tui.looking import CheckpointsPage, GrantsPage, WorkPage
from claude_bottle.dashboard.tui.pages import Bottles, Page, Requests
from claude_bottle.dashboard.tui.patch_dialog import PatchDialog
from claude_bottle.dashboard.tui.reading import Reading
from claude_bottle.dashboard.tui.request_dialog import RequestDialog
from claude_bottle.dashboard.tui.text import Lines
from claude_bottle.errors import BottleError
from claude_bottle.state.marker import marker
from claude_bottle.state.paths import Paths
from claude_bottle.workflow import answering
from claude_bottle.workflow.merging import propose

BOLD, DIM, HERE, ASKING = Style(bold=True), Style(dim=True), Style(reverse=True, bold=True), Style(color="yellow", bold=True)
_TICK = 1.0
_LOOK_EVERY = 2
KEYS = "[1-{}] page  [a] attach  [q] quit"


class Dashboard(App[None], inherit_bindings=False):
    ENABLE_COMMAND_PALETTE = False
    CSS = """
    Screen { background: ansi_default; color: ansi_default; }
    #pages { height: 1fr; }
    #note { height: auto; max-height: 6; padding: 0 1; }
    """
    page_types: ClassVar[tuple[type[Page], ...]] = (
        Bottles, Requests, Egress, JournalPage, Transcript, WatchPage, GrantsPage, WorkPage, CheckpointsPage,
    )  # fmt: skip

    def __init__(self, paths: Paths) -> None:
        super().__init__(ansi_color=True)
        self.animation_level = "none"
        self.paths, self.marker = paths, marker(paths)
        self.board = Board(paths, self._heard)
        self.pages = [kind(self.board) for kind in self.page_types]
        self.page = self.pages[0]
        self.identity = ""
        self.top, self.tabs, self.hints = Bar(), Bar(), Bar()
        self.note = Lines(id="note")
        self.note.can_focus = False
        self._told: list[str] = []
        self._ticks = 0
        self._to_look = False
        self._announced: set[tuple[str, str]] = set()

    def compose(self) -> ComposeResult:
        yield self.top
        yield self.tabs
        with Container(id="pages"):
            yield from self.pages
        yield self.note
        yield self.hints

    def on_mount(self) -> None:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGHUP):
                asyncio.get_running_loop().add_signal_handler(number, self._told_to_end, number)
        self.open_page(self.pages[0])
        self.set_interval(_TICK, self._tick)
        self._tick()

    def _told_to_end(self, number: int) -> None:
        self.exit(return_code=128 + number)

    def open_page(self, page: Page) -> None:
        self.page = page
        for one in self.pages:
            one.display = one is page
        page.list.focus()
        self.board_changed()

    def board_changed(self) -> None:
        """Show what is known now, on the page and in the dialog that is open."""
        self._to_look = False
        self.board.absorb()
        if not self.identity or self.identity not in self.board.bottles:
            running = [identity for identity, watched in self.board.bottles.items() if watched.running]
            self.identity = next(iter([*running, *self.board.bottles]), "")
        self.page.look(self.identity)
        self._say()
        for screen in self.screen_stack:
            if isinstance(screen, RequestDialog) and screen.request:
                item = self.board.item(screen.request)
                screen.now(item.view if item else None)
        new = {item.key for item in self.board.waiting} - self._announced
        if new:
            self._announced |= new
            self.bell()

    def on_key(self, event: events.Key) -> None:
        if len(self.screen_stack) > 1:
            return
        key = event.key
        self._told = []
        self._show_note()
        if key in ("q", "ctrl+c"):
            self.exit()
        elif key.isdigit() and 1 <= int(key) <= len(self.pages):
            self.open_page(self.pages[int(key) - 1])
        elif key in ("tab", "shift+tab"):
            step = 1 if key == "tab" else -1
            self.open_page(self.pages[(self.pages.index(self.page) + step) % len(self.pages)])
        elif key in ("left_square_bracket", "right_square_bracket"):
            self._other_bottle(1 if key.startswith("right") else -1)
        elif self.page.pressed(key):
            pass
        elif key == "enter":
            self._open()
        elif key == "a":
            self._lend()
        elif key == "g" and isinstance(self.page, Egress):
            self._grant()
        else:
            return
        event.stop()

    def on_lines_moved(self) -> None:
        if isinstance(self.page, Bottles) and isinstance(self.page.list.chosen, str):
            self.identity = self.page.list.chosen
            self._say()

    def on_resize(self) -> None:
        self.call_after_refresh(self.board_changed)

    def _tick(self) -> None:
        if self._ticks % _LOOK_EVERY == 0:
            try:
                self.board.refresh()
                self.board.problem = ""
            except BottleError as problem:
                self.board.problem = f"{problem.what}: {problem.why}" if problem.why else problem.what
        self._ticks += 1
        self.board_changed()

    def _heard(self) -> None:
        """From a follower's thread. One look is enough for however much has come."""
        if not self._to_look:
            self._to_look = True
            self.call_later(self.board_changed)

    def _say(self) -> None:
        running = sum(watched.running for watched in self.board.bottles.values())
        waiting = len(self.board.waiting)
        said = [(" claude-bottle  ", BOLD), (f"{running} running", DIM)]
        if waiting:
            said.append((f"   ! {waiting} waiting for you", ASKING))
        self._show_note()
        self.top.say(said, [(f"◆ {self.marker} ", BOLD)])
        self.tabs.say(self._tabs(waiting))
        hints = [(f" {self.page.hints}  {KEYS.format(len(self.pages))} ", DIM)]
        self.hints.say(hints, [(f" {self.identity} " if self.page.of_one else "", BOLD)])

    def _tabs(self, waiting: int) -> list[tuple[str, Style]]:
        """The pages' names, or shorter ones, so that all of them are seen."""
        marks = [f" ({waiting})" if isinstance(page, Requests) and waiting else "" for page in self.pages]
        whole, short = [page.name_ for page in self.pages], [page.short for page in self.pages]
        for names, gap in ((whole, " "), (whole, ""), (short, "")):
            said = [f"{'▸' if page is self.page else ' '}{number} {name}{mark}{gap}"
                    for number, (page, name, mark) in enumerate(zip(self.pages, names, marks, strict=True), 1)]  # fmt: skip
            if sum(map(len, said)) <= self.size.width:
                break
        return [(text, HERE if page is self.page else Style()) for text, page in zip(said, self.pages, strict=True)]

    def _other_bottle(self, step: int) -> None:
        known = list(self.board.bottles)
        if known:
            here = known.index(self.identity) if self.identity in known else 0
            self.identity = known[(here + step) % len(known)]
            self.board_changed()

    def _open(self) -> None:
        chosen = self.page.list.chosen
        if isinstance(self.page, Requests):
            item = self.page.item(chosen)
            if item is None:
                return
            dialog = RequestDialog(self.paths, item.identity, item.view, self.marker)
            dialog.merge = self._offer_merge
            keys = [one.key for one in self.board.waiting]
            dialog.place = f" {keys.index(item.key) + 1} of {len(keys)}" if item.key in keys else ""
            self.push_screen(dialog)
            if not item.waiting:
                dialog.over = asking.stand(item.view)
        elif isinstance(self.page, Bottles):
            waiting = self.board.bottles[chosen].waiting if chosen in self.board.bottles else []
            self.open_page(self.pages[1] if waiting else self.pages[3])
        elif chosen is not None:
            self.push_screen(Reading(self.page.name_, self.page.detail(chosen)))

    def _grant(self) -> None:
        chosen, identity = self.page.list.chosen, self.identity
        change = egress.suggestion(chosen) if isinstance(chosen, dict) else None
        if change is None:
            self.tell("no grant would let this through")
            return

        async def ask() -> None:
            try:
                view = await aside(lambda: answering.preview(identity, change, paths=self.paths))
            except (BottleError, OSError) as problem:
                self.tell(problem)
                return
            dialog = RequestDialog(self.paths, identity, view, self.marker, granting=change)
            dialog.merge = self._offer_merge
            self.push_screen(dialog)

        self.run_worker(ask())

    def _offer_merge(self, identity: str, grant: str) -> None:
        """Something was granted for the agent: show what its manifest would become."""

        async def look() -> None:
            try:
                proposal = await aside(lambda: propose(identity, [grant], self.paths))
            except (BottleError, OSError) as problem:
                self.tell(problem)
                return
            if proposal.patches:
                self.push_screen(PatchDialog(self.paths, proposal, self.marker))

        self.run_worker(look())

    def _lend(self) -> None:
        from claude_bottle.workflow.attach import follow

        if not self.identity:
            return
        problem: BottleError | OSError | None = None
        with self.suspend():
            try:
                follow(self.paths, self.identity)
            except (BottleError, OSError) as failed:
                problem = failed
        self.refresh(layout=True)
        if problem:
            self.tell(problem)
        self._tick()

    def tell(self, problem: BottleError | OSError | str) -> None:
        """A known error, below the page until a key is pressed."""
        self._told = [problem.what, problem.why, problem.do] if isinstance(problem, BottleError) else [str(problem)]
        self._show_note()

    def _show_note(self) -> None:
        width = max(self.size.width - 2, 20)
        words = [*self._told, self.board.problem]
        self.note.show([line(text, WIDE) for word in words if word for text in wrapped(word, width)])
