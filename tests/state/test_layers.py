"""The stack of layers of a workspace, and what a crash leaves of it."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from claude_bottle.state import layers
from claude_bottle.state.damage import Damaged
from claude_bottle.state.layers import Layers
from claude_bottle.state.merged import Merged


@pytest.fixture
def begun(tmp_path: Path) -> Layers:
    source = tmp_path / "source"
    source.mkdir()
    source.chmod(0o750)
    (source / "a").write_text("original")
    return layers.begin_at(tmp_path / "layers", source)


def seen(begun: Layers) -> dict[str, str]:
    merged = Merged(begun)
    found = {}
    for name in merged.names(""):
        with open(merged.open(name)) as file:
            found[name] = file.read()
    return found


def test_a_stack_is_noted_and_read_back(begun: Layers) -> None:
    assert layers.open_at(begun.directory) == begun
    assert layers.open_at(begun.directory.parent) is None
    assert os.stat(begun.upper).st_mode & 0o777 == 0o750


def test_finishing_puts_what_was_written_below_an_empty_layer_and_clearing_goes_back(begun: Layers) -> None:
    (begun.upper / "b").write_text("first")
    one = layers.finish(begun)
    (one.upper / "b").write_text("second")
    (one.upper / "c").write_text("more")
    two = layers.finish(one)
    assert (len(one.below), len(two.below), list(two.upper.iterdir())) == (1, 2, [])
    assert seen(two) == {"a": "original", "b": "second", "c": "more"}
    back = layers.clear(two, one.below)
    assert seen(back) == {"a": "original", "b": "first"}
    assert layers.open_at(begun.directory) == back
    assert (begun.directory / two.below[0] / "c").read_text() == "more"  # until nobody names it
    layers.sweep(back, set())
    assert not (begun.directory / two.below[0]).exists()


def test_finishing_what_is_empty_changes_nothing(begun: Layers) -> None:
    assert layers.finish(begun) == begun


@pytest.mark.parametrize("when", ["before the rename", "after the rename", "before the work directory is new"])
def test_a_crash_while_finishing_loses_nothing(begun: Layers, when: str) -> None:
    (begun.upper / "b").write_text("first")
    name = layers.new_name()
    layers.save(begun._replace(below=(name,)))
    if when != "before the rename":
        os.rename(begun.upper, begun.directory / name)
    if when == "before the work directory is new":
        os.rmdir(begun.directory / layers.WORK)
    found = layers.open_at(begun.directory)
    assert found is not None
    assert seen(layers.mend(found)) == {"a": "original", "b": "first"}
    assert (begun.directory / layers.WORK).is_dir()


@pytest.mark.parametrize(
    "change",
    [{"below": ["../../etc"]}, {"below": "x"}, {"below": None}, {"source": "relative"}, {"source": 5}, {"since": "x"},
     {"schema": 2}],
)
def test_a_note_that_makes_no_sense_is_refused(begun: Layers, change: dict[str, object]) -> None:
    note = begun.directory / layers.NOTE
    note.write_text(json.dumps({**json.loads(note.read_text()), **change}))
    with pytest.raises(Damaged):
        layers.open_at(begun.directory)
