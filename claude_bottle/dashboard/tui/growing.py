"""The pages of one bottle that grow while one looks: egress, journal, conversation, and what its agent does.

Each reads the end of something and goes on from there when it is looked at; only the newest lines are kept. What may take
longer than a blink (a look at a workspace) is done in a thread.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from claude_bottle.dashboard import egress
from claude_bottle.dashboard.board import Board
from claude_bottle.dashboard.lines import BAD, DIM, GOOD, HEAD, WIDE, Line, line, wrapped
from claude_bottle.dashboard.tails import MANY, JournalTail
from claude_bottle.dashboard.tui.aside import aside
from claude_bottle.dashboard.tui.pages import SIDE, Page
from claude_bottle.errors import BottleError
from claude_bottle.keeper.conversation_tail import ConversationTail
from claude_bottle.state.store import Store
from claude_bottle.state.transcript_text import Turn, render
from claude_bottle.workflow import watching
from claude_bottle.workflow.journals import render as journal_line
from claude_bottle.workflow.watching import Happening, Watch

_OTHER = "[ ] bottle"
NO_BOTTLE = "no bottle is chosen: choose one on the first page"
_TURNS = 400
_TONES = {watching.REFUSED: BAD, watching.HOST: GOOD, watching.FILE: WIDE, watching.BOTTLE: DIM}


class Growing(Page):
    of_one, follow = True, True

    def look(self, identity: str) -> None:
        if identity != self.identity or not self.opened:
            self.close()
            self.identity = identity
            if identity:
                self.open(identity)
        self.read()
        super().look(identity)

    @property
    def opened(self) -> bool:
        raise NotImplementedError

    def open(self, identity: str) -> None:
        """Begin anew, with this bottle. BottleError is for `problem`."""
        raise NotImplementedError

    def close(self) -> None:
        """Forget the bottle before."""

    def read(self) -> None:
        """Take in what is new."""


class Tailing(Growing):
    """Of one bottle's journal."""

    def __init__(self, board: Board) -> None:
        super().__init__(board)
        self._tail: JournalTail | None = None
        self._events: list[dict[str, Any]] = []

    @property
    def opened(self) -> bool:
        return self._tail is not None

    def open(self, identity: str) -> None:
        self._tail = JournalTail(self.board.paths, identity)

    def close(self) -> None:
        if self._tail:
            self._tail.close()
        self._tail, self._events = None, []

    def read(self) -> None:
        if self._tail:
            self._events = (self._events + self._tail.read())[-MANY:]

    def lines(self) -> Sequence[Line]:
        if self._tail is None:
            return [line(NO_BOTTLE, DIM)]
        return [line(self._tail.problem)] if self._tail.problem else self.made(self._events) or [line("nothing yet", DIM)]

    def made(self, events: list[dict[str, Any]]) -> Sequence[Line]:
        raise NotImplementedError

    def detail(self, key: Any) -> Sequence[Line]:
        if not isinstance(key, dict):
            return []
        said = {"time": key.get("wall"), "kind": key.get("kind"), **(key.get("data") or {})}
        return [line(text) for name, value in said.items() for text in wrapped(f"{name}  {value}", SIDE - 3, rest="    ")]


class Egress(Tailing):
    name_, short, hints = "egress", "egress", f"[g] grant  {_OTHER}  [enter] more"

    def made(self, events: list[dict[str, Any]]) -> Sequence[Line]:
        return egress.lines(events)


class JournalPage(Tailing):
    name_, short, hints = "journal", "journal", f"{_OTHER}  [enter] more"

    def made(self, events: list[dict[str, Any]]) -> Sequence[Line]:
        return [line(journal_line(event), "", event) for event in events]


class Transcript(Growing):
    """The conversation; the newest turns."""

    name_, short, hints, cursor, sided = "transcript", "talk", _OTHER, False, False

    def __init__(self, board: Board) -> None:
        super().__init__(board)
        self._tail: ConversationTail | None = None
        self._turns: list[Turn] = []

    @property
    def opened(self) -> bool:
        return self._tail is not None

    def open(self, identity: str) -> None:
        try:
            self._tail = ConversationTail(self.board.paths, Store(self.board.paths).load(identity))
        except BottleError:
            self._tail = None  # the first page says what is wrong with it

    def close(self) -> None:
        if self._tail:
            self._tail.close()
        self._tail, self._turns = None, []

    def read(self) -> None:
        if self._tail and (new := self._tail.lines()):
            self._turns = [*self._turns, *render(new)][-_TURNS:]

    def lines(self) -> Sequence[Line]:
        made: list[Line] = []
        for turn in self._turns:
            head = f"{turn.when[11:19]}  {turn.role}" + (f" · {turn.tool}" if turn.tool else "")
            made.append(line(head, HEAD))
            made += [*(line(text) for text in wrapped(turn.text, self.width, first="  ", rest="  ")), line("")]
        return made or [line("nothing was said yet" if self.identity else NO_BOTTLE, DIM)]


class WatchPage(Growing):
    """What its agent does: files, commands, hosts."""

    name_, short, hints = "watch", "watch", f"{_OTHER}  [enter] more"

    def __init__(self, board: Board) -> None:
        super().__init__(board)
        self._watch: Watch | None = None
        self._happened: list[Happening] = []
        self._looking = False

    @property
    def opened(self) -> bool:
        return self._watch is not None

    def open(self, identity: str) -> None:
        try:
            self._watch = Watch(identity, self.board.paths)
        except BottleError:
            self._watch = None

    def close(self) -> None:
        # A look of the thread's may still be going on in it; its descriptors go with it.
        self._watch, self._happened = None, []

    def read(self) -> None:
        if self._watch and not self._looking:
            self._looking = True
            self.run_worker(self._poll(self._watch))

    async def _poll(self, watch: Watch) -> None:
        try:
            new = await aside(watch.poll)
        finally:
            self._looking = False
        if new and watch is self._watch:
            self._happened = (self._happened + new)[-MANY:]
            self.list.show(self.lines())

    def lines(self) -> Sequence[Line]:
        made = [line(one.line, _TONES.get(one.what, ""), one) for one in self._happened]
        return made or [line("nothing yet" if self.identity else NO_BOTTLE, DIM)]

    def detail(self, key: Any) -> Sequence[Line]:
        if not isinstance(key, Happening):
            return []
        account = {watching.AGENT: "the agent's own account", watching.GATE: "the gate's account",
                   watching.KEEPER: "the keeper's account", watching.DISK: "seen in its workspace"}[key.by]  # fmt: skip
        said = [line(text) for text in wrapped(key.text, SIDE - 3)]
        return [line(f"{key.at}  {key.what}", HEAD), *said, line(account, DIM)]
