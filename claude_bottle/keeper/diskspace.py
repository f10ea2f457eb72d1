"""Stops a bottle that has written too much: looks, beside the loop, at how much it holds.

Looking may take long and wait for somebody else, so a thread of its own does it, whoever the bottle's backend has look. It
is told once, to the loop; where nobody can say any more how much it is, the bottle is stopped just the same.
"""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING

from claude_bottle.errors import BottleError
from claude_bottle.keeper.loop import READ

if TYPE_CHECKING:
    from collections.abc import Callable

    from claude_bottle.backend.disk_usage import Usage
    from claude_bottle.keeper.loop import Loop

LOOK_SECONDS = 1.0


class DiskSpace:
    """`most`: bytes that what `usage` counts may hold; it is closed at the end. `full` is called once: with what went wrong,
    if that is why it must count as full."""

    def __init__(self, loop: Loop, usage: Usage, most: int, full: Callable[[BottleError | None], None]) -> None:
        self._loop, self._usage, self._most, self._full = loop, usage, most, full
        self._over = threading.Event()
        self._problem: BottleError | None = None
        self._told, self._tell = os.pipe()
        loop.watch(self._told, READ, lambda _ready: self._heard())
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()

    def finish(self) -> None:
        """End it; nobody is told anything any more."""
        if self._told < 0:
            return
        self._loop.unwatch(self._told)
        self._over.set()
        self._usage.stop()
        self._thread.join()
        os.close(self._told)
        os.close(self._tell)
        self._told = self._tell = -1

    def _look(self) -> None:
        try:
            while not self._over.wait(LOOK_SECONDS) and self._usage.held() <= self._most:
                pass
        except BottleError as problem:
            self._problem = problem
        except Exception as bug:
            self._problem = BottleError("nobody can tell how much the bottle holds", why=type(bug).__name__)
        finally:
            self._usage.close()
            os.write(self._tell, b".")

    def _heard(self) -> None:
        self._loop.unwatch(self._told)
        self._full(self._problem)
