"""What is known of a host's changes below a layer: by its clock and its names, and nothing of what was only looked at."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from claude_bottle.errors import BottleError
from claude_bottle.state import host_edits, layers
from claude_bottle.state.layers import Layers


@pytest.fixture
def begun(tmp_path: Path) -> Layers:
    """A layer over a small project, whose files are older than it."""
    source = tmp_path / "source"
    for name in ("a", "d/b", "d/e/c", ".git/HEAD", ".git/index", "sub/.git/config"):
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_text("x")
    while True:  # until the clock of files has moved on: its tick is some milliseconds
        made = layers.begin_at(tmp_path / "layers", source)
        if made.since > (source / "sub/.git/config").stat().st_ctime_ns:
            return made
        shutil.rmtree(made.directory)


def test_names_that_are_gone_are_told_once_they_were_noted(begun: Layers) -> None:
    assert host_edits.names(begun) is None
    assert host_edits.edited(begun, note=True) == []
    assert host_edits.names(begun) == {"a", "d", "d/b", "d/e", "d/e/c", "sub"}
    shutil.rmtree(begun.source / "d/e")
    (begun.source / "d/b").unlink()
    (begun.source / "new").write_text("x")
    assert host_edits.edited(begun) == ["d/b", "d/e", "new"]


def test_without_the_names_the_directory_is_told(begun: Layers) -> None:
    (begun.source / "d/b").unlink()
    assert host_edits.edited(begun) == ["d"]
    assert host_edits.edited(begun, note=True) == ["d"]
    assert host_edits.edited(begun) == []  # too late: it was never known


def test_a_repository_is_told_as_one_and_not_where_somebody_only_looked(begun: Layers) -> None:
    (begun.source / ".git/index").write_text("looked at")
    (begun.source / ".git/index.lock").write_text("x")
    (begun.source / ".git/index.lock").unlink()
    assert host_edits.edited(begun, note=True) == []
    (begun.source / "sub/.git/config").write_text("changed")
    (begun.source / ".git/refs").mkdir()
    (begun.source / ".git/refs/one").write_text("x")
    assert host_edits.edited(begun) == [".git", "sub/.git"]


def test_what_the_bottle_has_the_same_is_told_apart(begun: Layers) -> None:
    for place in (begun.source, begun.upper):
        (place / "applied").write_text("same")
        (place / "differs").write_text(str(place))
    assert host_edits.unlike(begun, ["a", "applied", "differs", "gone"]) == ["a", "differs", "gone"]


def test_a_name_that_is_no_text_is_known_again(begun: Layers) -> None:
    odd = os.fsencode(begun.source) + b"/\xff\nodd"
    os.close(os.open(odd, os.O_CREAT | os.O_WRONLY, 0o600))
    host_edits.edited(begun, note=True)
    os.unlink(odd)
    assert host_edits.edited(begun) == [os.fsdecode(b"\xff\nodd")]
    assert "\n" not in host_edits.describe(host_edits.edited(begun))


def test_a_note_that_makes_no_sense_is_refused(begun: Layers) -> None:
    (begun.directory / host_edits.NAMES).write_bytes(b"no zlib")
    (begun.directory / host_edits.NAMES).chmod(0o600)
    with pytest.raises(BottleError):
        host_edits.edited(begun)


def test_what_is_noted_is_handed_on_to_a_fork(begun: Layers, tmp_path: Path) -> None:
    host_edits.hand_on(begun.directory, tmp_path)  # nothing yet
    host_edits.edited(begun, note=True)
    other = layers.begin_at(tmp_path / "other", begun.source)
    host_edits.hand_on(begun.directory, other.directory)
    assert host_edits.names(other) == host_edits.names(begun)
