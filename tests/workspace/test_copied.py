"""What counts as a change of a copy: by content, never by time."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from claude_bottle.errors import BottleError
from claude_bottle.state import files
from claude_bottle.workspace import base, taken
from claude_bottle.workspace.base import Base
from tests.workspace.conftest import Yard, git, plant, repository

FILES: dict[str, str | bytes] = {
    "src/a.py": "content of a\n", "node_modules/x.js": "x\n", "notes.md": "n\n", "keep.md": "k\n", "run.sh": "r\n",
    ".dockerignore": "node_modules\n*.md\n!keep.md\n",
}  # fmt: skip


@pytest.fixture
def handed(yard: Yard) -> Yard:
    plant(yard.host, FILES)
    (yard.host / "run.sh").chmod(0o755)
    (yard.host / "link").symlink_to("/etc/passwd")
    yard.hand_in()
    return yard


def relink(path: Path, target: str) -> None:
    path.unlink()
    path.symlink_to(target)


CHANGES: dict[str, tuple[list[str], Callable[[Path], object]]] = {
    "bytes": (["src/a.py"], lambda place: (place / "src/a.py").write_text("CONTENT of a\n")),
    "length": (["src/a.py"], lambda place: (place / "src/a.py").write_text("")),
    "a new file": (["src/b.py"], lambda place: (place / "src/b.py").touch()),
    "a new directory": (["empty"], lambda place: (place / "empty").mkdir()),
    "a file gone": (["src/a.py"], lambda place: (place / "src/a.py").unlink()),
    "the right to execute": (["run.sh"], lambda place: (place / "run.sh").chmod(0o644)),
    "a set-id bit": (["run.sh"], lambda place: (place / "run.sh").chmod(0o4755)),
    "another target": (["link"], lambda place: relink(place / "link", "/etc/group")),
    "a link in its place": (["keep.md"], lambda place: relink(place / "keep.md", "run.sh")),
    "a pipe": (["pipe"], lambda place: os.mkfifo(place / "pipe")),
}


@pytest.mark.parametrize("kind", CHANGES)
@pytest.mark.parametrize("host_moves_on", [False, True])
def test_every_change_is_seen_whatever_time_it_claims_and_whatever_the_host_did_since(
    handed: Yard, kind: str, host_moves_on: bool
) -> None:
    before = (handed.bottle / "src/a.py").stat()
    assert handed.changed() == []
    if host_moves_on:
        plant(handed.host, {"src/a.py": "of the host\n", "run.sh": "host\n", "keep.md": "host\n", "more": "host\n"})
    assert handed.changed() == []
    wanted, change = CHANGES[kind]
    change(handed.bottle)
    if (handed.bottle / "src/a.py").exists():
        os.utime(handed.bottle / "src/a.py", ns=(before.st_atime_ns, before.st_mtime_ns))
    assert handed.changed() == wanted


def test_what_the_host_changes_once_it_is_noted_has_a_later_ctime_however_quick_disk_and_host_are(
    yard: Yard, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "fsync", lambda fd: None)
    for number in range(20):
        plant(yard.host, {"a": str(number)})
        base.record(yard.host, yard.place / "base")
        assert time.clock_gettime_ns(base._FILES_CLOCK) > (yard.host / "a").stat().st_ctime_ns


def test_what_was_left_out_and_what_is_only_newer_is_no_change(handed: Yard) -> None:
    plant(handed.bottle, {"node_modules/new.js": "x", "new.md": "x"})
    os.utime(handed.bottle / "src/a.py", (1, 1))
    assert handed.changed() == []


def test_an_untouched_large_file_is_no_change_after_the_host_has_changed_its_own(yard: Yard) -> None:
    size = base.MAX_PACKED_FILE + 1
    plant(yard.host, {"large": b"a" * size, "other": b"b" * size})
    yard.hand_in()
    plant(yard.host, {"large": b"host" * size, "other": b"host"})
    (yard.bottle / "other").write_bytes(b"c" * size)
    assert yard.changed() == ["other"]


def test_nothing_of_git_itself_is_ever_a_change_at_any_depth_and_in_any_spelling(yard: Yard) -> None:
    repository(yard.host, {"a": "a"})
    yard.hand_in()
    for name in (".git/hooks/pre-commit", "sub/.git/config", ".GIT/config", "x/.Git/hooks/post-checkout", "git~1/config",
                 "y/.g\u200cit/config", "z/.git./config"):  # fmt: skip
        plant(yard.bottle, {name: "evil"})
    assert yard.changed() == ["sub", "x", "y", "z"]
    with yard.work() as work:
        work.changes()
        assert work.inner_repositories() == ["sub/.git", "x/.Git", "y/.g\u200cit", "z/.git."]


def test_commits_are_counted_and_a_branch_that_stands_where_one_stood_is_none(yard: Yard) -> None:
    repository(yard.host, {"a": "a"})
    yard.hand_in()
    git(yard.bottle, "branch", "same")
    from claude_bottle.workspace.refs import read

    with yard.work() as work:
        assert read(work.whole).moved(work.refs) == ()
        for text in ("b", "c"):
            plant(yard.bottle, {"a": text})
            git(yard.bottle, "commit", "--quiet", "--all", "--message=more")
        assert read(work.whole).moved(work.refs) == ("refs/heads/main",)
        assert read(work.whole).new_commits(work.refs) == 2


def test_a_log_of_nonsense_only_gives_a_wrong_number(yard: Yard) -> None:
    from claude_bottle.workspace.refs import read

    repository(yard.host, {"a": "a"})
    yard.hand_in()
    plant(yard.bottle, {".git/logs/HEAD": b"\xff\n" * 1000, ".git/HEAD": b"ref: refs/heads/\x1b[31m\n",
                        ".git/packed-refs": b"\xff" * 100, ".git/refs/heads/-x": b"nothing\n"})  # fmt: skip
    with yard.work() as work:
        refs = read(work.whole)
    assert refs.head == "" and "refs/heads/-x" not in dict(refs.tips)


ALMOST = b'{"schema":1,"source":"/","ignore":"","refs":{},"entries":1}'


@pytest.mark.parametrize("damage", [b"", b"[]", b"{}", b'{"schema": 9}', ALMOST])
def test_a_damaged_record_is_refused_and_kept(handed: Yard, damage: bytes) -> None:
    path = handed.place / "base" / "manifest.json"
    files.write_atomic(path, damage)
    with pytest.raises(BottleError):
        Base.load(handed.place / "base")
    assert path.read_bytes() == damage


def test_names_of_any_bytes_are_told_apart(yard: Yard) -> None:
    names = [b"new\nline", b"\x1b[31mred", b"-rf", b"\xff\xfe", "é".encode(), "e\u0301".encode(), b"case", b"CASE", b" "]
    names += [b"a\\b", b'"']
    yard.hand_in()
    for name in names:
        with open(os.path.join(os.fsencode(yard.bottle), name), "w"):
            pass
    assert sorted(os.fsencode(path) for path in yard.changed()) == sorted(names)


CLONE_CHANGES: dict[str, Callable[[Path], object]] = {
    "a file": lambda place: (place / "a").write_text("x"),
    "a new file that git ignores": lambda place: (place / "ignored").touch(),
    "a commit of nothing": lambda place: git(place, "commit", "-q", "--allow-empty", "-m", "x"),
    "a stash": lambda place: (place / "a").write_text("x") and git(place, "stash", "-q"),
}


@pytest.mark.parametrize("what", CLONE_CHANGES)
def test_every_change_of_a_clone_is_seen_and_looking_at_it_is_none(yard: Yard, what: str) -> None:
    repository(yard.host, {"a": "a", ".gitignore": "ignored\n", ".dockerignore": "a\n"})
    yard.bottle.rmdir()
    git(yard.place, "clone", "--quiet", "host", "bottle")
    base.record(yard.bottle, yard.place / "base", belongs_to=yard.host, ignoring=False)

    def left() -> bool:
        with yard.work() as work:
            assert work.source == yard.host
            return bool(taken.left(work, frozenset()))

    os.utime(yard.bottle / "a", (1, 1))
    git(yard.bottle, "status")
    git(yard.bottle, "gc", "-q")
    assert not left()
    CLONE_CHANGES[what](yard.bottle)
    assert left()
