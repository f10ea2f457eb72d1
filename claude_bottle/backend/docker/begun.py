"""A container launch as far as it needs no gate, no secret and no home: its directory, its words, and the engine at work.

An engine takes longest of all that is done for a launch, so it is asked first, by the command line that still gathers
the rest; the keeper goes on with it. What is abandoned, or loses its process, is found again by label like every other.
"""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

from claude_bottle.backend.base import Begun
from claude_bottle.backend.docker import launcher, owners
from claude_bottle.errors import BottleError

if TYPE_CHECKING:
    from collections.abc import Callable

    from claude_bottle.backend.docker.engine import Engine
    from claude_bottle.backend.docker.launcher import Asked, Recipe
    from claude_bottle.backend.docker.rundir import RunDir


class Underway(Begun):
    """What `launcher.complete` goes on with. `take_back` removes all of it."""

    def __init__(self, asked: Asked, owner: str, take_back: Callable[[], None]) -> None:
        self.asked, self.owner, self.take_back, self._taken = asked, owner, take_back, False

    def descriptors(self) -> tuple[int, ...]:
        return self.asked.listener.fileno(), self.asked.started.fileno()

    def hand_over(self) -> None:
        self._taken = True
        self.asked.listener.close()
        self.asked.started.give_up()

    def abandon(self) -> None:
        if not self._taken:
            self.hand_over()
            self.take_back()

    def take(self) -> Asked:
        """For whoever takes it back from now on."""
        self._taken = True
        return self.asked


def begin(
    engine: Engine, owner: str, identity: str, run_dir: RunDir, describe: Callable[[str], Recipe], *, early: bool = False
) -> Underway:
    """Make the directory and ask the engine. `describe` gives the words for a nonce; for `early` see `launcher.ask`.
    Whatever is raised, nothing is left."""
    owners.make_way(engine, owner, identity)

    def take_back() -> None:
        with contextlib.suppress(BottleError):  # the first error is the one to hear
            owners.remove(engine, owners.find(engine, owner, identity))
        run_dir.remove()

    nonce = os.urandom(16).hex()
    listener = run_dir.make(nonce)
    try:
        return Underway(launcher.ask(engine, describe(nonce), run_dir, listener, early=early), owner, take_back)
    except BaseException:
        listener.close()
        take_back()
        raise
