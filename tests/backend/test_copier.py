"""The copier against somebody who changes what is copied meanwhile: nothing outside is read, nothing outside is written."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from claude_bottle.backend import freezing, tree
from claude_bottle.errors import BottleError

CANARY = b"canary-of-the-outside"
NAMES = ("a", "b", "c")
ROUNDS = 40


def plant(place: Path, chance: random.Random, depth: int = 0) -> None:
    place.mkdir(exist_ok=True)
    for name in NAMES:
        kind = chance.choice(["file", "file", "directory", "link", "nothing"]) if depth < 3 else "file"
        if kind == "file":
            (place / name).write_bytes(b"inside-" + bytes(chance.randint(0, 40)) * chance.randint(1, 2000))
        elif kind == "directory":
            plant(place / name, chance, depth + 1)
        elif kind == "link":
            (place / name).symlink_to(chance.choice(["a", "../b", "/etc/passwd"]))


@contextmanager
def mutating(source: Path, outside: Path, seed: int) -> Iterator[None]:
    """Somebody who swaps directories and files of `source` for links to the outside and back, as fast as they can."""
    stop = threading.Event()

    def work() -> None:
        chance = random.Random(seed)
        while not stop.is_set():
            path = source.joinpath(*(chance.choice(NAMES) for _ in range(chance.randint(1, 3))))
            aside = path.with_name("aside")
            try:
                os.rename(path, aside)
                path.symlink_to(chance.choice([outside, outside / "canary", outside / "sub"]))
                path.unlink()
                if chance.random() < 0.2:
                    path.write_bytes(b"inside-new")
                    path.unlink()
                os.rename(aside, path)
            except OSError:
                shutil.rmtree(aside, ignore_errors=True)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def copied(source: Path, target: Path) -> None:
    target.mkdir()
    tree.copy_into(source, target)


def frozen(source: Path, target: Path) -> None:
    freezing.freeze(source, target)


@pytest.mark.threat(3, 93)
@pytest.mark.parametrize("copy", [copied, frozen])
@pytest.mark.parametrize("seed", range(3))
def test_case_93_whatever_is_swapped_meanwhile_every_byte_came_from_inside(
    tmp_path: Path, seed: int, copy: Callable[[Path, Path], None]
) -> None:
    outside, source = tmp_path / "outside", tmp_path / "source"
    (outside / "sub").mkdir(parents=True)
    for name in ("canary", "a", "sub/a", "sub/b"):
        (outside / name).write_bytes(CANARY)
    plant(source, random.Random(seed))
    before = {path: path.stat().st_ctime_ns for path in outside.rglob("*")}
    with mutating(source, outside, seed):
        for number in range(ROUNDS):
            target = tmp_path / f"target-{number}"
            try:
                copy(source, target)
            except BottleError:
                pass  # what could not be had whole is said
            for path in target.rglob("*"):
                if path.is_file() and not path.is_symlink():
                    assert CANARY not in path.read_bytes(), path
            shutil.rmtree(target)
    assert {path: path.stat().st_ctime_ns for path in outside.rglob("*")} == before


@pytest.mark.parametrize("seed", range(5))
def test_a_copy_of_a_still_tree_is_the_same_tree(tmp_path: Path, seed: int) -> None:
    plant(tmp_path / "source", random.Random(seed))
    copied(tmp_path / "source", tmp_path / "target")
    assert held(tmp_path / "source") == held(tmp_path / "target")
    freezing.freeze(tmp_path / "source", tmp_path / "frozen")
    assert held(tmp_path / "source") == held(tmp_path / "frozen")


def held(place: Path) -> dict[str, object]:
    """What a tree holds: where links lead, the bytes of files."""
    return {
        str(path.relative_to(place)): os.readlink(path) if path.is_symlink() else path.is_dir() or path.read_bytes()
        for path in place.rglob("*")
    }


@pytest.mark.parametrize("copy", [copied, frozen])
@pytest.mark.parametrize("name", ["file", "directory"])
def test_what_becomes_a_link_right_after_it_was_looked_at_is_not_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, copy: Callable[[Path, Path], None], name: str
) -> None:
    """The race that a mutator seldom wins, won every time."""
    source, outside = tmp_path / "source", tmp_path / "outside"
    (source / "directory").mkdir(parents=True)
    (source / "file").write_text("inside")
    (outside / "directory").mkdir(parents=True)
    for place in (outside / "file", outside / "directory/canary"):
        place.write_bytes(CANARY)
    look = os.stat

    def looked(path: Any, **options: Any) -> os.stat_result:
        found = look(path, **options)
        if path == name and options.get("dir_fd") is not None and not (source / name).is_symlink():
            os.rename(source / name, tmp_path / "aside")
            (source / name).symlink_to(outside / name)
        return found

    monkeypatch.setattr(os, "stat", looked)
    with contextlib.suppress(BottleError):
        copy(source, tmp_path / "target")
    monkeypatch.undo()
    assert (source / name).is_symlink()
    assert not [path for path in (tmp_path / "target").rglob("*") if path.is_file() and path.read_bytes() == CANARY]
