"""Random trees and edits: what is carried over is exactly the change, and whatever moves meanwhile, nothing outside is read
or written."""

from __future__ import annotations

import os
import random
import shutil
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from claude_bottle.state.beneath import open_beneath
from claude_bottle.workspace import apply as applying
from claude_bottle.workspace.captured import CapturedWork
from claude_bottle.workspace.directory import Directory
from claude_bottle.workspace.landing import Landing
from claude_bottle.workspace.quarantine import quarantine
from tests.workspace.conftest import EVERY_TRIGGER, Yard, snapshot

NAMES = st.sampled_from(["a", "b", "A", "-x", "new\nline", "\x1b[m", os.fsdecode(b"\xff"), "é", ".x", "Makefile"])
PATHS = st.lists(NAMES, min_size=1, max_size=3).map("/".join)
LEAVES = st.one_of(
    st.tuples(st.just("file"), st.booleans(), st.binary(max_size=40)),
    st.tuples(st.just("link"), st.sampled_from(["a", "../a", "/etc/passwd", "b/A", "\x1b[m"])),
    st.just(("directory",)),
)
TREES = st.dictionaries(PATHS, LEAVES, max_size=12)
QUICK = settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))


def build(place: Path, tree: dict[str, tuple[object, ...]]) -> None:
    """The tree as far as it is one: what would lie below a file or link is left out."""
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir()
    for path, entry in sorted(tree.items()):
        target = place / path
        if any((place / parent).is_symlink() for parent in Path(path).parents):
            continue
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            if entry[0] == "directory":
                target.mkdir(exist_ok=True)
            elif os.path.lexists(target):
                continue
            elif entry[0] == "link":
                os.symlink(str(entry[1]), target)
            else:
                with open(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o755 if entry[1] else 0o644), "wb") as file:
                    file.write(entry[2])  # type: ignore[arg-type]
        except (FileExistsError, NotADirectoryError):
            continue


@contextmanager
def fresh_yard() -> Iterator[Yard]:
    with tempfile.TemporaryDirectory() as name:
        yield Yard(Path(name))


@QUICK
@given(before=TREES, after=TREES)
def test_any_edit_goes_over_whole_and_its_reverse_gives_the_original(
    before: dict[str, tuple[object, ...]], after: dict[str, tuple[object, ...]]
) -> None:
    with fresh_yard() as yard:
        build(yard.host, before)
        original = snapshot(yard.host)
        yard.hand_in()
        assert yard.changed() == []
        build(yard.bottle, after)
        edited = snapshot(yard.bottle)
        assert {outcome.done for outcome in yard.apply().values()} <= {"applied"}
        assert snapshot(yard.host) == edited
        assert {outcome.done for outcome in yard.apply().values()} <= {"same"}
    with fresh_yard() as yard:
        build(yard.host, after)
        yard.hand_in()
        build(yard.bottle, before)
        yard.apply()
        assert snapshot(yard.host) == original


@QUICK
@given(before=TREES, bottle=TREES, host=TREES)
def test_whatever_both_sides_did_no_edit_of_the_operators_is_lost_unsaid(
    before: dict[str, tuple[object, ...]], bottle: dict[str, tuple[object, ...]], host: dict[str, tuple[object, ...]]
) -> None:
    with fresh_yard() as yard:
        build(yard.host, before)
        original = snapshot(yard.host)
        yard.hand_in()
        build(yard.bottle, bottle)
        build(yard.host, host)
        mine, theirs = snapshot(yard.host), snapshot(yard.bottle)
        said = yard.apply()
        now = snapshot(yard.host)
        for path in original.keys() | mine.keys() | theirs.keys() | now.keys():
            if path in said and said[path].done in ("applied", "same"):
                assert now.get(path) == theirs.get(path), path
            if mine.get(path) != original.get(path) and mine.get(path) != theirs.get(path) and path in mine:
                merged = path in said and said[path].done == "merged"
                assert merged or now.get(path) == mine.get(path), path
        assert yard.untouched_outside()


class Mutator:
    """Changes a tree all the time: swaps names, makes links to `outside`, files, directories, pipes."""

    def __init__(self, place: Path, outside: Path, seed: int, mark: bytes) -> None:
        self._top, self._outside, self._mark = os.open(place, os.O_RDONLY | os.O_DIRECTORY), outside, mark
        self._random, self._done = random.Random(seed), threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()
        os.close(self._top)

    def _run(self) -> None:
        while not self._done.is_set():
            try:
                self._one()
            except OSError:
                pass

    def _one(self) -> None:
        """By descriptors, so that it does not go through its own links either."""
        (one, name), choice = self._place_of_one(), self._random.random()
        try:
            if choice < 0.35:
                other, target = self._place_of_one()
                try:
                    os.rename(name, target, src_dir_fd=one, dst_dir_fd=other)
                finally:
                    os.close(other)
            elif choice < 0.5:
                os.symlink(self._outside, name, dir_fd=one)
            elif choice < 0.6:
                os.unlink(name, dir_fd=one)
            elif choice < 0.7:
                os.mkfifo(name, dir_fd=one)
            elif choice < 0.8:
                os.mkdir(name, dir_fd=one)
            else:
                fd = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o644, dir_fd=one)
                os.write(fd, self._mark * self._random.randint(0, 50))
                os.close(fd)
        finally:
            os.close(one)

    def _place_of_one(self) -> tuple[int, str]:
        *parents, name = [self._random.choice("abcd") for _ in range(self._random.randint(1, 3))]
        return (open_beneath(self._top, "/".join(parents), os.O_DIRECTORY) if parents else os.dup(self._top)), name


def plant_squares(place: Path, mark: bytes) -> None:
    for one in "abcd":
        for other in "abcd":
            (place / one / other).mkdir(parents=True)
            for last in "ab":
                (place / one / other / last).write_bytes(mark)


def guarded(yard: Yard) -> None:
    """What must be neither read nor written."""
    for one in "abcd":
        (yard.outside / one).mkdir()
        for other in "abcd":
            (yard.outside / one / other).write_bytes(b"outside\n")


@pytest.mark.parametrize("seed", range(4))
def test_while_the_bottle_changes_everything_only_its_own_bytes_go_over(yard: Yard, seed: int) -> None:
    """Case 93, for `diff` and `apply` of a running bottle."""
    plant_squares(yard.host, b"host\n")
    yard.hand_in()
    guarded(yard)
    before = snapshot(yard.outside)
    with Mutator(yard.bottle, yard.outside, seed, b"inside\n"):
        for turn in range(8):
            with yard.work() as work, quarantine() as place, Directory(yard.host) as host:
                captured = CapturedWork(work, yard.place / f"captured-{turn}")
                for entry in snapshot(yard.place / f"captured-{turn}").values():
                    assert entry[0] != "file" or set(bytes(entry[2])) <= set(b"inside\nhost\n"), entry  # type: ignore[arg-type]
                steps = Landing(captured, host, place).steps(captured.changes())
                applying.apply(captured, host, steps, allowed=EVERY_TRIGGER, on_conflict=applying.REPLACE)
                captured.close()
    for path, entry in snapshot(yard.host).items():
        assert entry[0] != "file" or b"outside" not in bytes(entry[2]), path  # type: ignore[arg-type]
    assert snapshot(yard.outside) == before


@pytest.mark.parametrize("seed", range(4))
def test_while_the_operators_tree_is_swapped_under_it_apply_writes_nowhere_else(yard: Yard, seed: int) -> None:
    plant_squares(yard.host, b"host\n")
    yard.hand_in()
    guarded(yard)
    plant_squares(yard.bottle / "e", b"inside\n")
    for path in yard.bottle.rglob("a"):
        if path.is_file():
            path.write_bytes(b"inside\n")
    before = snapshot(yard.outside)
    with Mutator(yard.host, yard.outside, seed, b"mutator\n"):
        for _ in range(8):
            with yard.work() as work, quarantine() as place, Directory(yard.host) as host:
                steps = Landing(work, host, place).steps(work.changes())
                applying.apply(work, host, steps, allowed=EVERY_TRIGGER, on_conflict=applying.REPLACE)
    assert snapshot(yard.outside) == before
