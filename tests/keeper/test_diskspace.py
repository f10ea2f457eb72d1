"""A bottle that holds too much: it is told once, whatever looks, and nobody waits for the looking at the end."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from claude_bottle.backend.disk_usage import Usage
from claude_bottle.errors import BottleError
from claude_bottle.keeper.diskspace import DiskSpace
from claude_bottle.keeper.loop import Loop
from tests.keeper.loops import run_until

MIB = 1 << 20
pytestmark = pytest.mark.threat(117)


@pytest.fixture
def told() -> list[BottleError | None]:
    return []


@pytest.mark.parametrize("late", [False, True])
def test_it_is_told_once(tmp_path: Path, told: list[BottleError | None], late: bool) -> None:
    """Of what was there before, and of what is written later."""
    loop, big = Loop(), tmp_path / "big"
    if not late:
        big.write_bytes(b"x" * 2 * MIB)
    space = DiskSpace(loop, Usage([str(tmp_path)], MIB), MIB, told.append)
    if late:
        loop.later(1.5, lambda: big.write_bytes(b"x" * 2 * MIB))
    run_until(loop, lambda: told)
    space._thread.join()
    loop.later(0, loop.stop)
    loop.run()
    space.finish()
    space.finish()
    loop.close()
    assert told == [None]


class Blind(Usage):
    def held(self) -> int:
        raise BottleError("it cannot be seen")


class Slow(Usage):
    """A look that takes until it is told to stop."""

    looking, may_end = threading.Event(), threading.Event()

    def held(self) -> int:
        self.looking.set()
        self.may_end.wait()
        return 2 * self._most

    def stop(self) -> None:
        self.may_end.set()


def test_what_cannot_be_looked_at_any_more_is_told_like_what_is_full(told: list[BottleError | None]) -> None:
    loop = Loop()
    space = DiskSpace(loop, Blind([], MIB), MIB, told.append)
    run_until(loop, lambda: told)
    space.finish()
    loop.close()
    assert [problem.what for problem in told if problem] == ["it cannot be seen"]


def test_a_look_under_way_at_the_end_is_told_to_stop_and_nothing_of_it_is_told(told: list[BottleError | None]) -> None:
    loop, usage = Loop(), Slow([], MIB)
    space = DiskSpace(loop, usage, MIB, told.append)
    assert usage.looking.wait(60)
    space.finish()
    loop.later(0, loop.stop)
    loop.run()
    loop.close()
    assert (told, space._thread.is_alive()) == ([], False)
