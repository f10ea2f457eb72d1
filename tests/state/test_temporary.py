"""A directory that is ours alone, and gone afterwards."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from claude_bottle.state.temporary import sweep, temporary_directory


def test_it_is_private_and_gone_afterwards_whatever_happens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    try:
        with temporary_directory() as made:
            assert made.parent == tmp_path
            assert stat.S_IMODE(made.stat().st_mode) == 0o700
            (made / "deep").mkdir()
            (made / "deep" / "file").write_text("x")
            (made / "link").symlink_to(tmp_path)
            raise KeyboardInterrupt
    except KeyboardInterrupt:
        pass
    assert not list(tmp_path.iterdir())


def test_a_place_that_is_not_there_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path / "missing"))
    with temporary_directory() as made:
        assert made.is_dir()


def test_sweep_removes_what_a_killed_process_left_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    dead, new = tmp_path / "claude-bottle-0123456789abcdef", tmp_path / "claude-bottle-fedcba9876543210"
    others = [tmp_path / "claude-bottle-mine", tmp_path / "something"]
    target = tmp_path / "target"
    for place in (dead, new, target, *others):
        place.mkdir()
    link = tmp_path / "claude-bottle-00000000ffffffff"
    link.symlink_to(target)
    with temporary_directory() as living:
        for place in (dead, living, target, *others):
            os.utime(place, (0, 0))
        sweep()
        assert living.is_dir()
    assert sorted(tmp_path.iterdir()) == sorted([new, target, link, *others])
