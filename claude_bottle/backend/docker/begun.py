"""A container launch as far as it needs no gate, no secret and no home: its directory, its words, and the engine at work.

An engine takes longest of all that is done for a launch, so it is asked first, by the command line that still gathers
the rest; the keeper goes on with it. What is abandoned, or loses its process, is found again by label like every other.
"""

from __future__ import annotations

import os
from functools import partial
from typing import TYPE_CHECKING

from claude_bottle.backend.base import Begun
from claude_bottle.backend.docker import argv, owners, starting
from claude_bottle.errors import BottleError
from claude_bottle.state.beneath import open_beneath
from claude_bottle.values import dataclass

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from claude_bottle.backend.docker.engine import Engine
    from claude_bottle.backend.docker.rundir import RunDir
    from claude_bottle.backend.docker.starting import Starting
    from claude_bottle.model.plan import Mount


@dataclass(frozen=True)
class Recipe:
    """How to start: the container's words and who the bottle's user is."""

    container: argv.Container
    nonce: str
    uid: int
    gid: int


@dataclass(frozen=True)
class Asked:
    """A container that the engine has been asked for. `sources`: what its mounts were when it was; `listener`: where its
    first process comes to."""

    recipe: Recipe
    run_dir: RunDir
    listener: socket.socket
    sources: dict[str, list[int]]
    started: Starting


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
    """Make the directory and ask the engine. `describe` gives the words for a nonce; for `early` see `ask`.
    Whatever is raised, nothing is left."""
    owners.make_way(engine, owner, identity)

    take_back = partial(owners.take_back, engine, owner, identity, run_dir)
    nonce = os.urandom(16).hex()
    listener = run_dir.make(engine.program, nonce)
    try:
        return Underway(ask(engine, describe(nonce), run_dir, listener, early=early), owner, take_back)
    except BaseException:
        listener.close()
        take_back()
        raise


def ask(engine: Engine, recipe: Recipe, run_dir: RunDir, listener: socket.socket, *, early: bool = False) -> Asked:
    """Have it started. `early`: by another process than the one that goes on; NeedsClient where that cannot be. Whatever is
    raised, the container may exist: remove it by label."""
    sources = {mount.target: identify(mount) for mount in recipe.container.mounts}
    words = argv.run(recipe.container)
    try:
        started = starting.by_engine(engine, words, run_dir.cid_file)
    except starting.NeedsClient:
        if early:
            raise
        started = starting.by_client(engine, words, run_dir.path)
    return Asked(recipe, run_dir, listener, sources, started)


def identify(mount: Mount) -> list[int]:
    """What a mount's source is, opened without following a link: what appears inside must be that very thing."""
    root = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        opened = open_beneath(root, mount.source.lstrip("/"), os.O_PATH)
    except (OSError, ValueError) as failure:
        raise BottleError(f"cannot show {mount.source} in a bottle", why=str(failure)) from None
    finally:
        os.close(root)
    found = os.fstat(opened)
    os.close(opened)
    return [found.st_dev, found.st_ino]
