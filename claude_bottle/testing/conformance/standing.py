"""A running bottle that one check after another is lent: a launch takes longer than what most of them do in it.

Only checks that say so share it, each from a place of its own that does not know whose bottle it is. One that fails has it
closed, so that the next begins in a fresh one. It touches its own directory and what the backend makes.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from claude_bottle.backend.base import Backend, Bottle
from claude_bottle.model.names import new_identity
from claude_bottle.testing.conformance.place import Place


class Standing:
    """`directory` is private. Launched when first asked for; the bottle is up until `close`."""

    def __init__(self, backend: Backend, directory: Path) -> None:
        self._backend, self._directory = backend, directory
        self._bottle: Bottle | None = None
        self._undo = ExitStack()

    @contextmanager
    def lent(self, place: Place) -> Iterator[None]:
        """`place.up()`, without a word more, gives this bottle as long as the block lasts."""
        place.lent = self._running()
        try:
            yield
        except BaseException:
            self.close()
            raise
        finally:
            place.lent = None

    def _running(self) -> Bottle:
        if self._bottle is None:
            own = self._directory / new_identity("standing")
            own.mkdir(mode=0o700)
            self._bottle = self._undo.enter_context(Place(self._backend, own).up())
        return self._bottle

    def close(self) -> None:
        self._bottle = None
        self._undo.close()
