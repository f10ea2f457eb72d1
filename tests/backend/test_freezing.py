"""Copies of what a bottle writes that share what did not change, and never what may still be written."""

from __future__ import annotations

import os
import stat
import time
from pathlib import Path

import pytest

from claude_bottle.backend import freezing
from claude_bottle.errors import BottleError
from claude_bottle.state.layers import is_opaque, is_whiteout
from tests.waiting import eventually


@pytest.fixture
def source(tmp_path: Path) -> Path:
    place = tmp_path / "source"
    for name in ("a", "d/b", "d/c"):
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_text(f"content of {name}\n")
    (place / "link").symlink_to("/etc/passwd")
    old_enough(place)
    return place


def old_enough(place: Path) -> None:
    """Until what is there is no longer what has just been written."""
    newest = max(path.lstat().st_ctime_ns for path in place.rglob("*"))
    eventually(lambda: time.time_ns() > newest + 2 * freezing._FRESH_NS)


def inodes(place: Path) -> dict[str, int]:
    return {str(path.relative_to(place)): path.lstat().st_ino for path in place.rglob("*") if path.is_file()}


def test_a_second_copy_shares_what_did_not_change_and_nothing_with_the_original(source: Path, tmp_path: Path) -> None:
    seen = freezing.freeze(source, tmp_path / "one")
    (source / "d/b").write_text("changed\n")
    (source / "new").write_text("new\n")
    freezing.freeze(source, tmp_path / "two", tmp_path / "one", seen)
    one, two = inodes(tmp_path / "one"), inodes(tmp_path / "two")
    assert {path for path in two if two[path] == one.get(path)} == {"a", "d/c"}
    assert not set(inodes(source).values()) & {*one.values(), *two.values()}
    assert (tmp_path / "one/d/b").read_text() == "content of d/b\n"
    assert (tmp_path / "two/d/b").read_text() == "changed\n"
    assert os.readlink(tmp_path / "two/link") == "/etc/passwd"


def test_a_change_in_place_that_puts_size_and_time_back_is_seen(source: Path, tmp_path: Path) -> None:
    seen = freezing.freeze(source, tmp_path / "one")
    before = (source / "a").stat()
    with open(source / "a", "r+") as file:
        file.write("CONTENT")
    os.utime(source / "a", ns=(before.st_atime_ns, before.st_mtime_ns))
    freezing.freeze(source, tmp_path / "two", tmp_path / "one", seen)
    assert (tmp_path / "two/a").read_text() == "CONTENT of a\n"
    assert (tmp_path / "one/a").read_text() == "content of a\n"


def test_what_was_written_a_moment_before_a_copy_is_copied_again(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The clock of files is coarse: a change right after the copy may leave the same time."""
    (source / "hot").write_text("x")
    moment = (source / "hot").stat().st_ctime_ns + freezing._FRESH_NS
    monkeypatch.setattr(time, "time_ns", lambda: moment)
    seen = freezing.freeze(source, tmp_path / "one")
    assert "hot" not in seen
    assert "a" in seen


def test_a_layer_is_copied_with_what_it_hides(source: Path, tmp_path: Path) -> None:
    os.mknod(source / "gone", stat.S_IFCHR, os.makedev(0, 0))
    os.setxattr(source / "d", "user.overlay.opaque", b"y")
    freezing.freeze(source, tmp_path / "one", layer=True)
    freezing.share(tmp_path / "one", tmp_path / "two")
    for copy in ("one", "two"):
        assert is_whiteout((tmp_path / copy / "gone").lstat())
        with open_directory(tmp_path / copy / "d") as fd:
            assert is_opaque(fd)
    assert inodes(tmp_path / "one") == inodes(tmp_path / "two")


def open_directory(path: Path):  # type: ignore[no-untyped-def]
    from claude_bottle.backend import tree

    return tree.opened(path)


def test_a_copy_that_is_thawed_shares_nothing_with_the_frozen_one(source: Path, tmp_path: Path) -> None:
    freezing.freeze(source, tmp_path / "one")
    target = tmp_path / "target"
    target.mkdir()
    (target / "old").touch()
    freezing.thaw(tmp_path / "one", target)
    assert sorted(inodes(target)) == ["a", "d/b", "d/c", "link"]
    assert not set(inodes(target).values()) & set(inodes(tmp_path / "one").values()) - {inodes(target)["link"]}
    (target / "a").write_text("written")
    assert (tmp_path / "one/a").read_text() == "content of a\n"


def test_what_is_neither_file_nor_directory_nor_link_is_left_out(source: Path, tmp_path: Path) -> None:
    os.mkfifo(source / "fifo")
    freezing.freeze(source, tmp_path / "one")
    assert not (tmp_path / "one" / "fifo").exists()


def test_a_note_that_cannot_be_read_means_that_everything_is_copied(tmp_path: Path) -> None:
    freezing.keep(tmp_path / "seen", {"home": {"a": (1, 2)}})
    assert freezing.recall(tmp_path / "seen") == {"home": {"a": (1, 2)}}
    (tmp_path / "seen").write_text('{"home": {"a": [1]}}')
    assert freezing.recall(tmp_path / "seen") == {}
    assert freezing.recall(tmp_path / "nothing") == {}


def test_what_cannot_be_copied_whole_is_no_copy(source: Path, tmp_path: Path) -> None:
    deep = source
    for _ in range(140):
        deep = deep / "x"
    deep.mkdir(parents=True)
    with pytest.raises(BottleError, match="not everything"):
        freezing.freeze(source, tmp_path / "one")
