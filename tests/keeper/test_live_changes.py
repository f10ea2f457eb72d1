"""What is told of a live directory, where something in it that runs by itself was made, changed or taken away."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from claude_bottle.errors import BottleError
from claude_bottle.keeper import live_changes
from claude_bottle.keeper.live_changes import CHANGED, GONE, NEW, REPOSITORY, UNKNOWN, UNSEEN
from tests.waiting import eventually


@pytest.fixture
def place(tmp_path: Path) -> Path:
    place = tmp_path / "place"
    make(place, ".git/HEAD", ".git/config", ".git/hooks/pre-commit", "Makefile", "a/.vscode/x", "a/b/package.json", "a/file")
    return place


def make(place: Path, *paths: str) -> None:
    for path in paths:
        (place / path).parent.mkdir(parents=True, exist_ok=True)
        (place / path).write_text("x")


def noted(tmp_path: Path, place: Path, *made: str) -> live_changes.Note:
    live_changes.save(tmp_path / "note", place, frozenset(made))
    note = live_changes.load(tmp_path / "note")
    assert note is not None
    (tmp_path / "probe").write_text("")
    # The kernel's clock of files ticks every few milliseconds, and nothing of a bottle is ever that early.
    eventually(lambda: _later(tmp_path / "probe", note.since))
    return note


def _later(probe: Path, since: int) -> bool:
    os.utime(probe)
    return probe.stat().st_ctime_ns > since


def test_nothing_is_told_where_only_ordinary_files_change(tmp_path: Path, place: Path) -> None:
    note = noted(tmp_path, place)
    make(place, "a/file", "new", ".git/index", ".git/objects/aa/bb", ".git/COMMIT_EDITMSG", ".git/hooks/x.sample")
    assert live_changes.changed(note) == {}


def test_what_git_runs_is_told_first_new_changed_and_gone(tmp_path: Path, place: Path) -> None:
    note = noted(tmp_path, place)
    make(place, "Makefile", "sub/.git/config", "sub/.git/HEAD", ".git/modules/m/HEAD", ".git/modules/m/config", "w/.git")
    make(place, ".git/rebase-merge/git-rebase-todo", ".git/commondir", "bare/HEAD", "bare/objects/x", "bare/refs/x")
    make(place, "node_modules/p/.git/hooks/post-commit")
    (place / ".git/hooks/pre-commit").unlink()
    make(place, "other")
    os.replace(place / "other", place / ".git/config")
    told = live_changes.changed(note)
    assert list(told) == [REPOSITORY, "make", "packages"]
    assert dict(told[REPOSITORY]) == {
        ".git/commondir": NEW, ".git/config": CHANGED, ".git/hooks/pre-commit": GONE, ".git/modules/m": NEW,
        ".git/modules/m/config": NEW, ".git/rebase-merge": NEW, "bare": NEW, "sub/.git": NEW, "sub/.git/config": NEW,
        "w/.git": NEW, "node_modules/p/.git": NEW, "node_modules/p/.git/hooks/post-commit": NEW,
    }  # fmt: skip
    assert told["make"] == [("Makefile", CHANGED)]
    assert told["packages"] == [("node_modules", NEW)]


def test_an_untouched_file_is_new_where_its_directory_was_renamed_to_what_a_tool_obeys(tmp_path: Path, place: Path) -> None:
    make(place, "sample/tasks.json")
    note = noted(tmp_path, place)
    os.rename(place / "sample", place / ".vscode")
    os.rename(place / "a/b", place / "c")
    told = live_changes.changed(note)
    assert told == {"editor": [(".vscode/tasks.json", NEW)],
                    "packages": [("c/package.json", NEW), ("a/b/package.json", GONE)]}  # fmt: skip


def test_what_we_put_there_ourselves_is_not_told(tmp_path: Path, place: Path) -> None:
    make(place, ".git/config.worktree")
    note = noted(tmp_path, place, ".git/config.worktree")
    (place / ".git/config.worktree").unlink()
    assert live_changes.changed(note) == {}


def test_a_reboot_goes_on_with_the_note_of_the_start(tmp_path: Path, place: Path) -> None:
    note = noted(tmp_path, place)
    make(place, "justfile")
    live_changes.save(tmp_path / "note", place, frozenset())
    assert live_changes.load(tmp_path / "note") == note


def test_names_that_act_on_a_terminal_are_spelled_out_and_long_lists_cut(tmp_path: Path, place: Path) -> None:
    note = noted(tmp_path, place)
    make(place, "\x1b[2J/Makefile", *(f"{number}/Makefile" for number in range(9)))
    (line,) = live_changes.describe(live_changes.changed(note))
    assert "\x1b" not in line
    assert "and 5 more" in line


def test_what_is_gone_from_deep_below_a_directory_that_a_tool_obeys_is_told_as_that_tools(
    tmp_path: Path, place: Path
) -> None:
    make(place, ".husky/a/b/c", "x/.github/workflows/a/b/c", ".mvn/wrapper/dir/x", "venv/bin/x", "h/__pycache__/x")
    note = noted(tmp_path, place)
    for name in (".husky", "x", ".mvn", "venv", "h"):
        shutil.rmtree(place / name)
    told = live_changes.changed(note)
    assert told == {
        "ci": [("x/.github/workflows/a/b/c", GONE)], "git": [(".husky/a/b/c", GONE)],
        "packages": [(".mvn/wrapper/dir/x", GONE)], "python": [("h/__pycache__", GONE), ("venv", GONE)],
    }  # fmt: skip
    assert len(live_changes.describe(told)) == len(told)


def test_no_number_of_other_files_hides_a_repository(tmp_path: Path, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    note = noted(tmp_path, place)
    monkeypatch.setattr(live_changes, "_MOST", 10)
    make(place, "0/.git/HEAD", "z/.git/HEAD", *(f"{number}/Makefile" for number in range(11)))
    told = live_changes.changed(note)
    assert told[REPOSITORY] == [("0/.git", NEW), ("z/.git", NEW)]
    assert len(told["make"]) < 11


def test_what_there_are_too_many_files_to_look_at_for_is_told_and_not_taken_for_gone(
    tmp_path: Path, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    note = noted(tmp_path, place)
    monkeypatch.setattr(live_changes, "_MOST_LOOKED_AT", 10)
    make(place, *(f"flood/{number}" for number in range(20)), "flood/deep/Makefile")
    told = live_changes.changed(note)
    assert {how for paths in told.values() for _, how in paths} == {UNKNOWN}
    assert {path for path, _ in told[UNSEEN]} & {"flood", "flood/deep"}
    assert live_changes.describe(told)[0].startswith("too many files in the live workspace to look at them all: ")


def test_a_damaged_note_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "note").write_bytes(b"no zlib")
    (tmp_path / "note").chmod(0o600)
    with pytest.raises(BottleError):
        live_changes.load(tmp_path / "note")
    assert live_changes.load(tmp_path / "none") is None
