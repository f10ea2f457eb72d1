"""Keepers of the tests: made in this process as the CLI makes them, and none left behind."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from claude_bottle.backend.registry import TABLE
from claude_bottle.keeper import reboot
from claude_bottle.keeper.client import Control
from claude_bottle.keeper.order import Order, Up
from claude_bottle.keeper.spawn import start
from tests.keeper import orders
from tests.waiting import SECONDS, eventually, readable


class Kept:
    """A bottle whose keeper runs: its order, what the launch returned, and the connection of its birth."""

    def __init__(self, order: Order, up: Up) -> None:
        self.order, self.up = order, up
        self.birth = Control(order.paths, order.identity, up.connection)
        self.pidfd = watched(up.keeper)

    @property
    def identity(self) -> str:
        return self.order.identity

    def control(self) -> Control:
        return Control(self.order.paths, self.identity)

    def agent(self) -> int:
        with self.control() as control:
            return int(str(control.status()["agent"]))

    def gone(self, seconds: float = SECONDS) -> bool:
        """Whether the keeper ends within the time."""
        return readable(self.pidfd, seconds)

    def finish(self) -> None:
        if not self.gone(0):
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self.pidfd, signal.SIGKILL)
        self.gone()
        os.close(self.pidfd)
        self.birth.close()


def watched(keeper: int) -> int:
    """A descriptor that can be read once it has ended: a pidfd, or where it has been collected already, an end of its own."""
    try:
        return os.pidfd_open(keeper)
    except ProcessLookupError:
        reading, writing = os.pipe()
        os.close(writing)
        return reading


@pytest.fixture(autouse=True)
def local_backend(monkeypatch: pytest.MonkeyPatch) -> None:
    """Records that name the tests' own backend can be settled like any other."""
    monkeypatch.setitem(TABLE, "local", "claude_bottle.backend.fake.backend:FakeBackend")


@pytest.fixture(autouse=True)
def unhurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """An agent that is asked to end before another life is not hung up on (after a quarter of that time) while it does."""
    monkeypatch.setattr(reboot, "GRACE_SECONDS", 4 * SECONDS)


@pytest.fixture
def root() -> Iterator[Path]:
    """A state root with a short path."""
    place = Path(tempfile.mkdtemp(prefix="cbk-"))
    yield place / "root"
    eventually(lambda: removed(place))  # what a process that has just been killed was making may still come


def removed(place: Path) -> bool:
    shutil.rmtree(place, ignore_errors=True)
    return not place.exists()


Launch = Callable[..., Kept]


@pytest.fixture
def launch(root: Path) -> Iterator[Launch]:
    """`launch(*argv, **options of orders.order)`: a bottle that is up."""
    made: list[Kept] = []

    def launch(*argv: str, order: Order | None = None, **options: Any) -> Kept:
        order = order or orders.order(root, *argv, **options)
        kept = Kept(order, start(order))
        made.append(kept)
        return kept

    yield launch
    for kept in made:
        kept.finish()
