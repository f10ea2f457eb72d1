"""The two words of an installation."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from claude_bottle.state.damage import Damaged
from claude_bottle.state.marker import marker
from claude_bottle.state.marker_words import FIRST, SECOND
from claude_bottle.state.paths import Paths


def test_a_marker_is_two_words_and_stays(paths: Paths) -> None:
    first, _, second = marker(paths).partition("-")
    assert first in FIRST and second in SECOND
    assert marker(paths) == f"{first}-{second}"


def test_a_marker_is_nobody_elses_to_read(paths: Paths) -> None:
    marker(paths)
    assert (paths.root / "marker").stat().st_mode & 0o777 == 0o600


def test_every_installation_has_its_own(tmp_path: Path) -> None:
    assert len({marker(Paths(tmp_path / str(index))) for index in range(8)}) > 1


def test_there_are_enough_words_and_each_once() -> None:
    assert len(set(FIRST)) == len(FIRST) and len(set(SECOND)) == len(SECOND)
    assert len(FIRST) * len(SECOND) > 1 << 16


def test_all_who_ask_first_at_the_same_time_get_the_same_words(paths: Paths) -> None:
    """Each waits for the end of a pipe, so that all of them begin at once."""
    code = "import os; from claude_bottle.state.marker import marker; from claude_bottle.state.paths import Paths;"
    code += "os.read(0, 1); print(marker(Paths.default()))"
    go, hold = os.pipe()
    environ = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])}
    asking = [
        subprocess.Popen([sys.executable, "-c", code], stdin=go, stdout=subprocess.PIPE, text=True, env=environ)
        for _ in range(6)
    ]
    os.close(go)
    os.close(hold)
    said = {process.communicate()[0] for process in asking}
    assert said == {marker(paths) + "\n"}


@pytest.mark.parametrize("content", [b"", b"violet otter\n", b"violet-otter-owl", b"\x1b]0;x\x07-a", b"a" * 500])
def test_a_marker_that_is_not_two_words_is_refused_and_left(paths: Paths, content: bytes) -> None:
    paths.ensure_root()
    (paths.root / "marker").write_bytes(content)
    (paths.root / "marker").chmod(0o600)
    with pytest.raises(Damaged):
        marker(paths)
    assert (paths.root / "marker").read_bytes() == content


def test_a_link_in_place_of_the_marker_is_refused(paths: Paths, tmp_path: Path) -> None:
    paths.ensure_root()
    (tmp_path / "elsewhere").write_text("violet-otter\n")
    (paths.root / "marker").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(Damaged):
        marker(paths)
