"""The store of layers: what appears and disappears in it, what it may take, what it refuses to remove."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from claude_bottle.backend.bubblewrap import layer_store
from claude_bottle.backend.bubblewrap.layer_store import ROOT, LayerStore
from claude_bottle.errors import BottleError
from claude_bottle.state.paths import Paths

ONE, TWO = "1" * 32, "2" * 32


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    made = Paths(tmp_path / "root")
    made.ensure_root()
    return made


@pytest.fixture
def store(paths: Paths) -> LayerStore:
    return LayerStore(paths)


def put(store: LayerStore, name: str, size: int = 1) -> None:
    with store.staging() as place:
        (place / "made" / ROOT).mkdir(parents=True)
        store.publish(place / "made", name, {"size": size, "capability": {"apt": ["xx"]}})


def keep(paths: Paths, name: str) -> None:
    state = paths.states / "kept-000001"
    for place in (paths.states, state):
        place.mkdir(mode=0o700, exist_ok=True)
    (state / "plan.json").write_text(json.dumps({"layers": [{"name": name}]}))
    (state / "plan.json").chmod(0o600)


def test_a_layer_appears_whole_and_what_was_not_published_is_gone(store: LayerStore, paths: Paths) -> None:
    with store.staging() as place:
        (place / "made").mkdir()
    put(store, ONE)
    assert os.listdir(paths.layer_store) == [ONE] == store.names()
    assert store.directory(ONE) == paths.layer_store / ONE


def test_the_second_of_two_builders_of_the_same_is_no_error(store: LayerStore) -> None:
    put(store, ONE)
    put(store, ONE)
    assert store.names() == [ONE]


def test_what_is_missing_is_told_with_what_builds_it(store: LayerStore) -> None:
    with pytest.raises(BottleError) as told:
        store.directory(ONE)
    assert "builds it" in told.value.do


@pytest.mark.parametrize("name", ["", "..", "x", "/etc", "1" * 31, "1" * 33, "G" * 32])
def test_a_name_never_leads_out_of_the_store(store: LayerStore, name: str) -> None:
    put(store, ONE)
    assert not store.has(name)
    assert not store.remove(name)
    with pytest.raises(BottleError):
        store.directory(name)


def test_a_link_is_no_layer(store: LayerStore, paths: Paths, tmp_path: Path) -> None:
    put(store, ONE)
    (tmp_path / "elsewhere").mkdir()
    (paths.layer_store / TWO).symlink_to(tmp_path / "elsewhere")
    assert not store.has(TWO)
    assert store.names() == [ONE]


def test_what_a_kept_bottle_needs_is_not_removed(store: LayerStore, paths: Paths) -> None:
    put(store, ONE)
    put(store, TWO)
    keep(paths, ONE)
    assert not store.remove(ONE)
    assert store.remove(TWO)
    assert store.names() == [ONE]


def test_a_plan_that_cannot_be_read_may_need_all_of_them(store: LayerStore, paths: Paths) -> None:
    put(store, ONE)
    keep(paths, ONE)
    (paths.states / "kept-000001" / "plan.json").write_text("{")
    with pytest.raises(BottleError):
        store.remove(ONE)
    assert store.names() == [ONE]


def test_room_is_made_from_what_nobody_needs_the_longest_unused_first(
    store: LayerStore, paths: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(layer_store, "MAX_BYTES", 25)
    old, older, needed = "a" * 32, "b" * 32, "c" * 32
    for name in (needed, older, old):
        put(store, name, 10)
    for age, name in enumerate((old, older, needed)):
        os.utime(paths.layer_store / name, (1000 - age, 1000 - age))
    keep(paths, needed)
    store.make_room()
    assert store.names() == [old, needed]


def test_no_room_is_told(store: LayerStore, paths: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layer_store, "MAX_BYTES", 5)
    put(store, ONE, 10)
    keep(paths, ONE)
    with pytest.raises(BottleError, match="no room"):
        store.make_room()


def test_what_a_killed_build_left_goes_with_the_next_one(store: LayerStore, paths: Paths) -> None:
    put(store, ONE)
    for name in (".new-0000000000000000", f".removing-{TWO}-00000000"):
        (paths.layer_store / name / "root").mkdir(parents=True)
        os.utime(paths.layer_store / name, (1, 1))
    with store.staging() as place:
        assert sorted(os.listdir(paths.layer_store)) == sorted([place.name, ONE])


def test_a_build_under_way_is_left_alone(store: LayerStore) -> None:
    with store.staging() as place:
        os.utime(place, (1, 1))
        with store.staging():
            assert place.is_dir()
