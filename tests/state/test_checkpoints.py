"""The checkpoints of a bottle as they are kept: whole or not there, under names that are no paths."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from claude_bottle.errors import BottleError, UsageError
from claude_bottle.state import checkpoints
from claude_bottle.state.checkpoints import Checkpoint
from claude_bottle.state.paths import Paths

IDENTITY = "claude-abc123"


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    found = Paths(tmp_path / "root")
    found.ensure_root()
    found.state(IDENTITY).mkdir(parents=True, mode=0o700)
    found.states.chmod(0o700)
    return found


def make(
    paths: Paths, name: str, created: str = "2026-01-01T00:00:00.000000Z", made: str = checkpoints.OPERATOR
) -> Checkpoint:  # fmt: skip
    staging = checkpoints.begin(paths, IDENTITY, name)
    return checkpoints.complete(staging, Checkpoint(staging, name, created, "claude", "claude", "s", "overlay", "/src",
                                                    ("0" * 16,), None, 5, made))  # fmt: skip


def test_they_are_listed_oldest_first_and_read_as_they_were_noted(paths: Paths) -> None:
    later, earlier = make(paths, "a", "2026-02-01T00:00:00.000000Z"), make(paths, "b")
    assert checkpoints.known(paths, IDENTITY) == [earlier, later]
    assert checkpoints.load(paths, IDENTITY, "a") == later


def test_names_that_nobody_chose_count_up_for_each_reason_and_never_come_again(paths: Paths) -> None:
    assert checkpoints.next_name(paths, IDENTITY) == "c1"
    for name, made in (("c1", checkpoints.OPERATOR), ("mine", checkpoints.OPERATOR), ("turn-8", checkpoints.TURN)):
        make(paths, name, made=made)
    assert checkpoints.next_name(paths, IDENTITY) == "c2"
    assert checkpoints.next_name(paths, IDENTITY, checkpoints.TURN) == "turn-9"
    assert checkpoints.next_name(paths, IDENTITY, checkpoints.REWIND) == "before-rewind-1"


def test_of_those_of_turns_only_the_newest_stay_and_all_others_do(paths: Paths) -> None:
    for number in range(4):
        make(paths, f"turn-{number}", f"2026-01-0{number + 1}T00:00:00.000000Z", checkpoints.TURN)
        make(paths, f"turn-like-{number}", f"2026-01-0{number + 1}T00:00:00.000000Z")
    make(paths, "before-rewind-1", "2025-01-01T00:00:00.000000Z", checkpoints.REWIND)
    (paths.checkpoints(IDENTITY) / f"{checkpoints.GONE}turn-0").mkdir()  # of a crash
    checkpoints.prune(paths, IDENTITY, 2)
    names = {one.name for one in checkpoints.known(paths, IDENTITY)}
    assert names == {"turn-2", "turn-3", "before-rewind-1", *(f"turn-like-{number}" for number in range(4))}
    make(paths, "next")
    assert not list(paths.checkpoints(IDENTITY).glob(".*"))


def test_only_what_an_operator_may_come_back_to_is_asked_for(paths: Paths) -> None:
    make(paths, "turn-1", made=checkpoints.TURN)
    make(paths, "fork-1", made=checkpoints.FORK)
    assert not checkpoints.asked_for(paths, IDENTITY)
    make(paths, "before-rewind-1", made=checkpoints.REWIND)
    assert checkpoints.asked_for(paths, IDENTITY)


def test_one_that_a_crash_cut_short_is_not_there_and_gone_with_the_next(paths: Paths) -> None:
    staging = checkpoints.begin(paths, IDENTITY, "a")
    (staging / "home").mkdir()
    assert checkpoints.known(paths, IDENTITY) == []
    make(paths, "b")
    assert [one.name for one in checkpoints.known(paths, IDENTITY)] == ["b"]
    assert not staging.exists()


def test_a_name_is_taken_once(paths: Paths) -> None:
    make(paths, "a")
    with pytest.raises(BottleError, match="already"):
        checkpoints.begin(paths, IDENTITY, "a")


@pytest.mark.parametrize("name", ["", "..", "a/b", "-x", ".new-a", "A", "x" * 41, "a\n", "a-"])
def test_a_name_is_no_path_and_no_option(paths: Paths, name: str) -> None:
    with pytest.raises(UsageError):
        checkpoints.check_name(name)
    with pytest.raises(UsageError):
        checkpoints.load(paths, IDENTITY, name)


@pytest.mark.parametrize(
    "change",
    [{"layers": ["../x"]}, {"name": "b"}, {"source": "x"}, {"since": "1"}, {"schema": 9}, {"made": "x"}, {"made": []}],
)
def test_a_note_that_makes_no_sense_is_refused_and_not_listed(paths: Paths, change: dict[str, object]) -> None:
    note = make(paths, "a").path / checkpoints.NOTE
    note.write_text(json.dumps({**json.loads(note.read_text()), **change}))
    with pytest.raises(BottleError):
        checkpoints.load(paths, IDENTITY, "a")
    assert checkpoints.known(paths, IDENTITY) == []


def test_an_origin_is_an_identity_and_perhaps_a_name() -> None:
    assert checkpoints.split("claude-abc123") == ("claude-abc123", "")
    assert checkpoints.split("claude-abc123@c1") == ("claude-abc123", "c1")
    with pytest.raises(UsageError):
        checkpoints.split("claude-abc123@")
