"""The pages that are looked up: what was granted, a bottle's work, its checkpoints.

Each look may take a while (locks, a copy of what changed, other processes' files), so it is made in a thread, and the page
shows what was found last. Work is compared when the page is opened and when it is asked for again, the rest every few
seconds while it is shown.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from claude_bottle.dashboard import grants
from claude_bottle.dashboard.board import Board
from claude_bottle.dashboard.lines import BAD, DIM, GOOD, HEAD, WIDE, Line, line, wrapped
from claude_bottle.dashboard.tui.aside import aside
from claude_bottle.dashboard.tui.growing import NO_BOTTLE
from claude_bottle.dashboard.tui.pages import SIDE, Page
from claude_bottle.dashboard.tui.reading import Reading
from claude_bottle.dashboard.tui.revoke_dialog import RevokeDialog
from claude_bottle.errors import BottleError
from claude_bottle.workflow import checkpoints, kept_grants, work
from claude_bottle.workspace.review_text import patch_lines, render

_TONES = {"yellow": WIDE, "red": BAD, "green": GOOD}
_NEVER, _SOON = float("inf"), 3.0
_PATCH_LINES = 20_000
"""Of what is shown here; `diff` has the rest."""


class Looking(Page):
    """`again`: seconds after which it is looked again; `found` is what `find` last returned for this bottle."""

    again: ClassVar[float] = _NEVER

    def __init__(self, board: Board) -> None:
        super().__init__(board)
        self.found: Any = None
        self._problem: list[str] = []
        self._looking = False
        self._due = 0.0

    def find(self, identity: str) -> Any:
        """In a thread."""
        raise NotImplementedError

    def look(self, identity: str) -> None:
        if identity != self.identity and self.of_one:
            self.found, self._problem, self._due = None, [], 0.0
        self.identity = identity
        if (identity or not self.of_one) and not self._looking and time.monotonic() >= self._due:
            self._looking = True
            self.run_worker(self._look(identity))
        super().look(identity)

    def look_again(self) -> None:
        self._due = 0.0
        self.look(self.identity)

    async def _look(self, identity: str) -> None:
        problem: list[str] = []
        found = None
        try:
            found = await aside(lambda: self.find(identity))
        except BottleError as failed:
            problem = [failed.what, failed.why, failed.do]
        except OSError as failed:
            problem = [str(failed)]
        finally:
            self._looking = False
        self._due = time.monotonic() + self.again
        if identity == self.identity or not self.of_one:
            self.found, self._problem = found, problem
            super().look(self.identity)
        else:
            self.look_again()

    def lines(self) -> Sequence[Line]:
        if self.of_one and not self.identity:
            return [line(NO_BOTTLE, DIM)]
        if self._problem:
            return [line(text, WIDE) for word in self._problem if word for text in wrapped(word, self.width)]
        if self.found is None:
            return [line("looking …", DIM)]
        return self.made(self.found)

    def made(self, found: Any) -> Sequence[Line]:
        raise NotImplementedError

    def aside(self, call: Callable[[], object]) -> None:
        """Do this in a thread, tell its problem, and look again."""

        async def run() -> None:
            try:
                await aside(call)
            except (BottleError, OSError) as problem:
                self.app.tell(problem)  # type: ignore[attr-defined]
            self.look_again()

        self.run_worker(run())


class GrantsPage(Looking):
    name_, short, hints, again = "grants", "grants", "[x] revoke  [enter] more", _SOON

    def find(self, identity: str) -> list[grants.Given]:
        return list(kept_grants.kept_grants(self.board.paths))

    def made(self, found: list[grants.Given]) -> Sequence[Line]:
        return grants.lines(self._all(found))

    def detail(self, key: Any) -> Sequence[Line]:
        return next((grants.text(*one) for one in self._all(self.found or []) if (one[0], one[1].get("id")) == key), [])

    def pressed(self, key: str) -> bool:
        if key != "x":
            return False
        chosen = next((one for one in self._all(self.found or []) if (one[0], one[1].get("id")) == self.list.chosen), None)
        if chosen is None or chosen[1].get("ended"):
            self.app.tell("choose a grant that is in force")  # type: ignore[attr-defined]
        else:
            marker: str = self.app.marker  # type: ignore[attr-defined]
            self.app.push_screen(RevokeDialog(self.board.paths, *chosen, marker), lambda _: self.look_again())
        return True

    def _all(self, kept: list[grants.Given]) -> list[grants.Given]:
        """What keepers have said last of running bottles, and what was found of others."""
        running = [(watched.identity, view) for watched in self.board.bottles.values() for view in watched.grants]
        said = {identity for identity, _ in running}
        return running + [one for one in kept if one[0] not in said]


class WorkPage(Looking):
    """What one bottle changed: what would run later first, as `diff --stat` has it, and the patch."""

    name_, short, hints, of_one = "work", "work", "[r] look again  [enter] patch  [ ] bottle", True

    def find(self, identity: str) -> tuple[list[Line], list[Line]]:
        seen = work.diff(identity, paths=self.board.paths)
        said = [one for patch in seen.patches for one in _toned(patch_lines(patch))][:_PATCH_LINES]
        patch = [line(text, one.tone) for one in said for text in wrapped(one.text, SIDE - 4)]
        return _toned(render(seen.review)), patch

    def made(self, found: tuple[list[Line], list[Line]]) -> Sequence[Line]:
        return found[0]

    def detail(self, key: Any) -> Sequence[Line]:
        return self.found[1] if self.found else []

    def pressed(self, key: str) -> bool:
        if key == "r" and not self._looking:
            self.found = None
            self.look_again()
        elif key == "enter" and self.found and not self._looking:
            self.app.push_screen(Reading(f"what {self.identity} changed", self.found[1] or [line("nothing", DIM)]))
        return key in ("r", "enter")


class CheckpointsPage(Looking):
    name_, short, hints, of_one, again = "checkpoints", "points", "[c] take one  [ ] bottle", True, _SOON

    def find(self, identity: str) -> list[dict[str, object]]:
        return checkpoints.listing(identity, self.board.paths)

    def made(self, found: list[dict[str, object]]) -> Sequence[Line]:
        if not found:
            return [line("none yet", DIM)]
        head, *rows = checkpoints.as_text(found).split("\n")
        named = zip(found, rows, strict=True)
        return [line(head, HEAD), *(line(text, "", str(row["name"])) for row, text in named)]

    def detail(self, key: Any) -> Sequence[Line]:
        row = next((one for one in self.found or () if one["name"] == key), None)
        if row is None:
            return []
        identity = self.identity
        said = [line(f"{name:<12}{row[name]}") for name in ("name", "created", "agent", "harness", "mode", "session_id")]
        commands = (f"claude-bottle rewind {identity} {key}", f"claude-bottle fork AGENT {identity}@{key}")
        return [*said, line(""), *(line(text, DIM) for text in ("go back to it, or go on from it elsewhere:", *commands))]

    def pressed(self, key: str) -> bool:
        if key == "c" and self.identity:
            identity = self.identity
            self.aside(lambda: checkpoints.checkpoint(identity, paths=self.board.paths))
        return key == "c"


def _toned(found: Sequence[tuple[str, str | None]]) -> list[Line]:
    return [line(text, _TONES.get(colour or "", "")) for text, colour in found]
