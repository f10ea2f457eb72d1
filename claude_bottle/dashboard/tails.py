"""What is new at the end of a journal, cheap to ask again and again: one read that finds nothing."""

from __future__ import annotations

from typing import Any

from claude_bottle.errors import BottleError
from claude_bottle.state.journal_read import Reader
from claude_bottle.state.paths import Paths

MANY = 2000
"""Of what a page keeps: the newest."""
LAST_BYTES = 1 << 20


class JournalTail:
    """The events of one identity, beginning with those of the last bytes."""

    def __init__(self, paths: Paths, identity: str, *, last: int = LAST_BYTES) -> None:
        self._path, self._last = paths.journal(identity), last
        self._reader: Reader | None = None
        self.problem = ""

    def read(self) -> list[dict[str, Any]]:
        """The events since the last call. Damaged lines appear as `workflow.journals` has them; a journal that is not
        there yet, or cannot be read, has none (`problem` says why)."""
        if self._reader is None and not self._open():
            return []
        assert self._reader is not None
        found = []
        for line in self._reader.lines():
            damaged = {"seq": None, "wall": "", "kind": "damaged", "data": {"line": line.number, "problem": line.problem}}
            found.append(line.event if line.event is not None else damaged)
        return found[-MANY:]

    def close(self) -> None:
        if self._reader:
            self._reader.close()

    def _open(self) -> bool:
        try:
            self._reader = Reader(self._path, last=self._last)
        except FileNotFoundError:
            return False
        except BottleError as problem:
            self.problem = problem.what
            return False
        self.problem = ""
        return True
