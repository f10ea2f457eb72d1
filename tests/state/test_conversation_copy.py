from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from claude_bottle.state import beneath
from claude_bottle.state.conversation_copy import ArchivedFile, Budget, archive_file, find, is_conversation

WHERE = (".claude/projects",)
OWN = b"own\n"


@pytest.mark.parametrize("name", [".claude/projects/-workspace/1.jsonl", ".claude/projects/1.jsonl"])
def test_conversation_is_known_by_its_place_and_ending(name: str) -> None:
    assert is_conversation(name, WHERE)


@pytest.mark.parametrize(
    "name",
    [
        "1.jsonl", ".claude/settings.json", ".claude/projectsx/1.jsonl", ".claude/projects/../settings.jsonl",
        ".claude/projects//1.jsonl", ".claude/projects/./1.jsonl", "/.claude/projects/1.jsonl",
        ".claude/projects/a\n.jsonl", ".claude/projects/a/b/c/d/e/f/g.jsonl", ".claude/projects/1.jsonl/",
    ],
)  # fmt: skip
def test_nothing_else_is_conversation(name: str) -> None:
    assert not is_conversation(name, WHERE)


def test_a_name_an_agent_thought_of_is_noted_safely() -> None:
    budget = Budget()
    for number in range(1000):
        budget.skip(f"\x1b]0;{number}\x07\n", "a reason")
    assert budget.partial
    assert len(budget.skipped) <= 100
    assert not any("\x1b" in note or "\n" in note for note in budget.skipped)


# Swaps a directory and a link to the outside, over and over, until its stdin ends.
_FLIP = """
import os, select, sys
real, other, outside = sys.argv[1:]
print("started", flush=True)
while not select.select([sys.stdin], [], [], 0)[0]:
    os.rename(real, other)
    os.symlink(outside, real)
    os.unlink(real)
    os.rename(other, real)
"""


def test_a_directory_swapped_for_a_link_while_copying_leads_nowhere(tmp_path: Path) -> None:
    """The race of CVE-2018-15664: nothing of the host is ever copied."""
    home, outside, archive = (tmp_path / name for name in ("home", "outside", "archive"))
    name = ".claude/projects/x/1.jsonl"
    for place in (home, outside):
        (place / name).parent.mkdir(parents=True)
    archive.mkdir()
    (home / name).write_bytes(OWN)
    (outside / name).write_bytes(b"secret of the host, and longer\n")
    projects = ".claude/projects"
    argv = [sys.executable, "-c", _FLIP, home / projects, home / ".claude/other", outside / projects]
    home_fd, archive_fd = os.open(home, os.O_RDONLY), os.open(archive, os.O_RDONLY)
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as flipper:
        assert flipper.stdout is not None
        flipper.stdout.readline()
        tries = copied = refused = 0
        # Until the race was really met from both sides: a flipper that the scheduler leaves in one state proves nothing.
        while tries < 10_000 or copied < 100 or refused < 100:
            budget = Budget()
            archive_file(home_fd, archive_fd, name, budget)
            tries += 1
            copied += bool(budget.files)
            refused += bool(budget.skipped)
            assert all(file.size == len(OWN) for file in budget.files), "something of the host was copied"
        flipper.communicate()
    os.close(home_fd)
    os.close(archive_fd)
    assert (archive / name).read_bytes() == OWN


def test_searching_enters_no_link(tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "1.jsonl").touch()
    (tmp_path / "home" / ".claude").mkdir(parents=True)
    (tmp_path / "home" / ".claude" / "projects").symlink_to(tmp_path / "outside")
    home = os.open(tmp_path / "home", os.O_RDONLY)
    try:
        assert find(home, WHERE, Budget()) == []
    finally:
        os.close(home)


def test_searching_goes_no_deeper_than_a_conversation_can_lie(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".claude/projects" / "/".join("d" * 100)).mkdir(parents=True)
    opened: list[str] = []
    real = beneath.open_beneath

    def noting(directory: int, relative: str, flags: int) -> int:
        opened.append(relative)
        return real(directory, relative, flags)

    monkeypatch.setattr(beneath, "open_beneath", noting)
    home = os.open(tmp_path, os.O_RDONLY)
    try:
        assert find(home, WHERE, Budget()) == []
    finally:
        os.close(home)
    assert max(name.count("/") for name in opened) <= 8


def test_an_archived_file_comes_back_from_its_dictionary() -> None:
    file = ArchivedFile("a", 1, 2, True)
    assert ArchivedFile.from_dict(file._asdict()) == file
