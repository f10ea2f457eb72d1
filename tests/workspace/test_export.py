"""Exporting: plain data into a fresh directory, bounded, links never followed."""

from __future__ import annotations

import os
import stat
import threading
from pathlib import Path

import pytest

from claude_bottle.errors import BottleError
from claude_bottle.workspace.directory import Directory
from claude_bottle.workspace.export import Export, fresh_directory
from claude_bottle.workspace.work import KEEP
from tests.workspace.conftest import Yard, plant, snapshot


def export(yard: Yard, name: str = "export") -> tuple[Path, Export]:
    target = yard.place / name
    fd = fresh_directory(target)
    with Directory(yard.bottle, ours=True) as tree:
        copying = Export(tree)
        copying.run(tree.walk(lambda path, directory: KEEP), fd)
        copying.notes += tree.notes
    os.close(fd)
    return target, copying


def test_what_is_there_already_is_never_written_into(yard: Yard) -> None:
    (yard.place / "link").symlink_to(yard.outside)
    for target in (yard.outside, yard.outside / "canary", yard.place / "link", yard.place / "missing" / "x"):
        with pytest.raises(BottleError):
            fresh_directory(target)
    assert yard.untouched_outside()


def test_links_out_are_named_and_left_and_links_inside_are_kept(yard: Yard) -> None:
    """Case 92."""
    plant(yard.bottle, {"a/real": "r"})
    for name, to in (("file", "canary"), ("directory", "."), ("up", "")):
        (yard.bottle / name).symlink_to(yard.outside / to)
    (yard.bottle / "climbs").symlink_to("../outside/canary")
    (yard.bottle / "a/inside").symlink_to("real")
    target, copying = export(yard)
    assert snapshot(target) == {"a": ("directory",), "a/real": ("file", False, b"r"), "a/inside": ("link", "real")}
    assert copying.left == {"file", "directory", "up", "climbs"}


def test_modes_owners_set_id_bits_and_future_times_are_left_behind(yard: Yard) -> None:
    """Case 98."""
    plant(yard.bottle, {"tool": "t", "plain": "p"})
    (yard.bottle / "tool").chmod(0o6777)
    (yard.bottle / "plain").chmod(0o666)
    os.utime(yard.bottle / "plain", (1 << 33, 1 << 33))
    target, _ = export(yard)
    found = {name: os.lstat(target / name) for name in ("tool", "plain")}
    assert {name: stat.S_IMODE(one.st_mode) for name, one in found.items()} == {"tool": 0o700, "plain": 0o600}
    assert {one.st_uid for one in found.values()} == {os.geteuid()}
    assert found["plain"].st_mtime < 1 << 33
    assert stat.S_IMODE(target.stat().st_mode) == 0o700


def test_pipes_devices_and_endless_files_are_left_with_a_note_and_holes_stay_holes(yard: Yard) -> None:
    """Case 95."""
    os.mkfifo(yard.bottle / "pipe")
    with open(yard.bottle / "endless", "wb") as file:
        file.truncate(1 << 42)
    with open(yard.bottle / "sparse", "wb") as file:
        file.truncate(1 << 34)
        file.seek(1 << 33)
        file.write(b"data")
    target, copying = export(yard)
    assert copying.left == {"pipe", "endless"}
    assert (target / "sparse").stat().st_size == 1 << 34
    assert (target / "sparse").stat().st_blocks * 512 < 1 << 20
    with open(target / "sparse", "rb") as file:
        file.seek(1 << 33)
        assert file.read(5) == b"data\0"


def test_a_tree_without_end_is_cut_and_said_to_be(yard: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    """Case 96."""
    import claude_bottle.workspace.work as work

    monkeypatch.setattr(work, "MAX_ENTRIES", 50)
    deep = yard.bottle.joinpath(*["d"] * (work.MAX_DEPTH + 5))
    deep.mkdir(parents=True)
    plant(yard.bottle, {f"many/{number}": "" for number in range(60)})
    target, copying = export(yard)
    assert len(snapshot(target)) <= 50
    assert "more than 50 files" in " ".join(copying.notes)


def test_depth_is_bounded(yard: Yard) -> None:
    """Case 96."""
    from claude_bottle.workspace.work import MAX_DEPTH

    yard.bottle.joinpath(*["d"] * (MAX_DEPTH + 50)).mkdir(parents=True)
    plant(yard.bottle, {"z": "z"})
    target, copying = export(yard)
    assert len(snapshot(target)) == MAX_DEPTH + 2
    assert "too deep" in " ".join(copying.notes)


def test_names_of_any_bytes_arrive_and_nothing_is_overwritten(yard: Yard) -> None:
    """Case 97."""
    names = [b"-rf", b"new\nline", b"\x1b[31m", b"\xff", b"case", b"CASE", "e\u0301".encode(), "é".encode()]
    for name in names:
        with open(os.path.join(os.fsencode(yard.bottle), name), "wb") as file:
            file.write(name)
    target, _ = export(yard)
    assert {name: Path(target, os.fsdecode(name)).read_bytes() for name in names} == {name: name for name in names}


def test_a_name_that_is_taken_is_left_and_told(yard: Yard) -> None:
    """Case 97: as twins of case or of normalisation are on a file system that tells none apart."""
    plant(yard.bottle, {"twin": "first"})
    fd = fresh_directory(yard.place / "export")
    with Directory(yard.bottle, ours=True) as tree:
        copying, entry = Export(tree), tree.entry("twin")
        assert entry is not None
        copying.run([("twin", entry), ("twin", entry)], fd)
    os.close(fd)
    assert (copying.left, copying.copied) == ({"twin"}, 1)


def test_a_directory_that_flips_to_a_link_and_back_is_never_followed(yard: Yard) -> None:
    """Case 93: a mutator swaps `flip` between a directory and a link to `outside` for as long as exports run."""
    plant(yard.outside, {"secret": "outside\n"})
    plant(yard.bottle, {"flip/file": "inside\n", "other/file": "inside\n"})
    (yard.bottle / "link").symlink_to(yard.outside)
    done = threading.Event()

    def mutate() -> None:
        while not done.is_set():
            for one, other in (("flip", "real"), ("link", "flip"), ("flip", "link"), ("real", "flip")):
                try:
                    os.rename(yard.bottle / one, yard.bottle / other)
                except OSError:
                    pass

    mutator = threading.Thread(target=mutate)
    mutator.start()
    try:
        for turn in range(150):
            target, _ = export(yard, f"export-{turn}")
            for path, entry in snapshot(target).items():
                assert entry[0] != "link", path
                assert entry[-1] != b"outside\n" and entry[-1] != b"canary\n", path
    finally:
        done.set()
        mutator.join()
