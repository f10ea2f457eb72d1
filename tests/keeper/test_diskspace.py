"""How much files take: every one of them, wherever an agent has put it, and nothing outside."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from claude_bottle.keeper.diskspace import ENTRY, DiskSpace, held
from claude_bottle.keeper.loop import Loop

MIB = 1 << 20
FAR = 1 << 40


def test_bytes_count_once_whatever_their_names(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x" * MIB)
    os.link(tmp_path / "a", tmp_path / "b")
    (tmp_path / "d").mkdir()
    os.link(tmp_path / "a", tmp_path / "d/c")
    assert MIB <= held([tmp_path, tmp_path], FAR) < MIB + 10 * ENTRY


def test_files_without_bytes_count_too(tmp_path: Path) -> None:  # threats 117
    for number in range(100):
        (tmp_path / str(number)).touch()
    assert held([tmp_path], FAR) >= 100 * ENTRY


def test_holes_do_not(tmp_path: Path) -> None:
    with (tmp_path / "sparse").open("wb") as file:
        file.truncate(1 << 40)
    assert held([tmp_path], FAR) < MIB


def test_no_link_leads_outside(tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/big").write_bytes(b"x" * MIB)
    (tmp_path / "home").mkdir()
    (tmp_path / "home/link").symlink_to(tmp_path / "outside")
    (tmp_path / "away").symlink_to(tmp_path / "outside")
    assert held([tmp_path / "home", tmp_path / "away"], FAR) < MIB


def test_what_is_closed_counts_and_stays_closed(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir()
    (closed / "big").write_bytes(b"x" * MIB)
    closed.chmod(0)
    try:
        assert held([tmp_path], FAR) >= MIB
        assert closed.stat().st_mode & 0o777 == 0
    finally:
        closed.chmod(0o700)


def test_counting_ends_above_the_bound(tmp_path: Path) -> None:
    for number in range(200):
        (tmp_path / str(number)).touch()
    assert ENTRY * 10 < held([tmp_path], ENTRY * 10) < ENTRY * 13


@pytest.mark.parametrize("late", [False, True])
def test_it_is_told_once(tmp_path: Path, late: bool) -> None:
    """Of what was there before, and of what is written later."""
    loop, told = Loop(), []
    if not late:
        (tmp_path / "big").write_bytes(b"x" * 2 * MIB)

    def full() -> None:
        told.append(time.monotonic())
        loop.later(1.5, loop.stop)

    space = DiskSpace(loop, MIB, (tmp_path,), full)
    if late:
        loop.later(0.5, lambda: (tmp_path / "big").write_bytes(b"x" * 2 * MIB))
    loop.later(60, loop.stop)
    loop.run()
    loop.close()
    space.cancel()
    assert len(told) == 1
