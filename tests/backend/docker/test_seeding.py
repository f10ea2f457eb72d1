"""What goes into a bottle's volumes through the engine: read back by the standard library, as an engine would."""

from __future__ import annotations

import io
import os
import stat
import tarfile
import time
from pathlib import Path

import pytest

from claude_bottle.backend import tree
from claude_bottle.backend.docker import seeding
from claude_bottle.errors import BottleError
from claude_bottle.state import ignore


def sent(place: Path, rules: tuple[str, ...] = ()) -> dict[str, tarfile.TarInfo]:
    stream = io.BytesIO()
    with tree.opened(place) as directory:
        seeding._Archive(stream, (1000, 1001), ignore.Ignored(rules)).whole(directory)
    stream.seek(0)
    with tarfile.open(fileobj=stream) as archive:
        return {member.name: member for member in archive}


def test_files_directories_and_links_are_sent_as_the_bottles_users(tmp_path: Path) -> None:
    (tmp_path / "deep" / "er").mkdir(parents=True)
    (tmp_path / "deep" / "er" / "file").write_text("content")
    (tmp_path / "link").symlink_to("/etc/passwd")
    (tmp_path / ("ü" * 60 + "€" * 40)).write_text("")
    found = sent(tmp_path)
    assert set(found) == {"deep", "deep/er", "deep/er/file", "link", "ü" * 60 + "€" * 40}
    assert {(member.uid, member.gid) for member in found.values()} == {(1000, 1001)}
    assert (found["link"].issym(), found["link"].linkname) == (True, "/etc/passwd")
    assert found["deep/er/file"].size == 7


def test_set_id_bits_closed_modes_and_times_to_come_are_left_behind(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("")
    file.chmod(0o6755)
    os.utime(file, (time.time() + 10**6,) * 2)
    (tmp_path / "closed").write_text("")
    (tmp_path / "closed").chmod(0)
    found = sent(tmp_path)
    assert not found["file"].mode & (stat.S_ISUID | stat.S_ISGID | stat.S_ISVTX)
    assert found["file"].mtime <= time.time()
    assert found["closed"].mode & 0o600 == 0o600


def test_what_is_no_file_is_not_sent(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "file").write_text("")
    assert set(sent(tmp_path)) == {"file"}


def test_a_link_that_takes_a_directorys_place_is_not_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "place").mkdir()
    real = os.stat

    def swapped(name: str, **options: object) -> os.stat_result:
        found = real(name, **options)  # type: ignore[arg-type]
        if name == "place":
            os.rmdir(tmp_path / "place")
            os.symlink("/etc", tmp_path / "place")
        return found

    monkeypatch.setattr(os, "stat", swapped)
    with pytest.raises(OSError):
        sent(tmp_path)


def test_what_dockerignore_says_stays_here(tmp_path: Path) -> None:
    (tmp_path / "node_modules" / "x").mkdir(parents=True)
    (tmp_path / "node_modules" / "x" / "file").write_text("")
    (tmp_path / "kept").write_text("")
    assert set(sent(tmp_path, ("node_modules",))) == {"kept"}


def test_more_or_deeper_than_a_bottle_takes_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    monkeypatch.setattr(tree, "MAX_DEPTH", 1)
    with pytest.raises(BottleError, match="cannot fill"):
        sent(tmp_path)
    monkeypatch.undo()
    monkeypatch.setattr(tree, "MAX_ENTRIES", 1)
    with pytest.raises(BottleError, match="cannot fill"):
        sent(tmp_path)
