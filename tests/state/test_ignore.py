"""`.dockerignore` as docker reads it; `tests/backend/docker/test_images.py` compares with a real build."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from claude_bottle.errors import BottleError
from claude_bottle.state.ignore import Ignored, read, walk

CASES = [
    ("a", "a", True), ("a", "a/b", True), ("a", "b/a", False), ("*.log", "x.log", True), ("*.log", "d/x.log", False),
    ("**/*.log", "x.log", True), ("**/*.log", "d/e/x.log", True), ("d/**", "d/x/y", True), ("/a", "a", True),
    ("a/", "a/b", True), ("./a", "a", True), ("a/../b", "b", True), ("?", "ab", False), ("[ab]c", "bc", True),
    ("[^a]c", "ac", False), ("a\\*", "a*", True), ("a\\*", "ab", False), ("a*b", "a/b", False), (".", "a", False),
    ("**", "a/b", True), ("a/**/b", "a/b", True), ("a/**/b", "a/x/y/b", True),
]  # fmt: skip


@pytest.mark.parametrize(("pattern", "path", "ignored"), CASES)
def test_a_pattern_matches_as_docker_says(pattern: str, path: str, ignored: bool) -> None:
    assert Ignored([pattern]).ignores(path) is ignored


def test_the_last_word_counts() -> None:
    rules = Ignored(["*.md", "!README.md", "README.md"])
    assert rules.ignores("README.md")
    assert not Ignored(["*.md", "!README.md"]).ignores("README.md")


def test_comments_and_blank_lines_say_nothing() -> None:
    assert not Ignored(["# a", "", "   ", "."]).ignores("# a")


def test_a_walk_leaves_out_what_is_ignored_and_follows_no_link(tmp_path: Path) -> None:
    for name in ("keep/a", "node_modules/x/y", "logs/keep.log", "logs/b.log"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x")
    (tmp_path / "out").symlink_to("/etc")
    (tmp_path / ".dockerignore").write_text("node_modules\nlogs\n!logs/keep.log\n")
    found = [path for path, _ in walk(str(tmp_path), read(str(tmp_path)))]
    assert found == [".dockerignore", "keep", "out", "keep/a", "logs/keep.log"]


def test_a_file_of_patterns_takes_linear_time() -> None:
    assert not Ignored(["*a" * 50 + "b"]).ignores("a" * 200)
    assert not Ignored(["**/a" * 12 + "/b"]).ignores("a/" * 60 + "c")


@pytest.mark.parametrize("pattern", ["[z-a]", "[a", "a/[]a]", "[]", "[^]", "[a-]", "[-a]", "a\\", "!b/\\", "[a/b", " !"])
def test_a_pattern_that_docker_refuses_is_told(pattern: str) -> None:
    with pytest.raises(BottleError, match="is no pattern"):
        Ignored([pattern])


def test_a_line_ends_where_docker_ends_it(tmp_path: Path) -> None:
    (tmp_path / ".dockerignore").write_bytes("\ufeffa\u2028b\r\n / c \n".encode())
    rules = read(str(tmp_path))
    assert rules.ignores("a\u2028b") and rules.ignores("c") and not rules.ignores("a")


@pytest.mark.parametrize("what", ["fifo", "directory", "not text", "too large", "a loop"])
def test_rules_that_cannot_be_read_let_nothing_be_copied(tmp_path: Path, what: str) -> None:
    place = tmp_path / ".dockerignore"
    if what == "fifo":
        os.mkfifo(place)
    elif what == "directory":
        place.mkdir()
    elif what == "a loop":
        place.symlink_to(place)
    else:
        place.write_bytes(b"\xff\n" if what == "not text" else b"a\n" * (1 << 20))
    with pytest.raises(BottleError, match=r"cannot use the \.dockerignore"):
        read(str(tmp_path))
