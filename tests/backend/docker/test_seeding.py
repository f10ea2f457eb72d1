"""What goes into a bottle's volumes: as the keeper sends it and the first process writes it, each a real half of it."""

from __future__ import annotations

import io
import os
import stat
import time
from pathlib import Path

import pytest

from claude_bottle.backend import tree
from claude_bottle.backend.docker import filling, packing, seeding
from claude_bottle.errors import BottleError
from claude_bottle.state import ignore


@pytest.fixture
def source(tmp_path: Path) -> Path:
    made = tmp_path / "source"
    made.mkdir()
    return made


def sent(source: Path, rules: tuple[str, ...] | None = None) -> Path:
    """The volume as it is then, beside the source; with `rules`, the source is somebody's project."""
    stream = io.BytesIO()
    sending = seeding.Sending(stream.write, None if rules is None else ignore.Ignored(rules))
    sending.tree(os.fsencode(source))
    sending.say(packing.WHOLE)
    stream.seek(0)
    volume = source.with_name("volume")
    volume.mkdir()
    filling.fill(stream, str(volume))
    assert stream.read() == b""
    return volume


def names(place: Path) -> set[str]:
    return {str(path.relative_to(place)) for path in place.rglob("*")}


def test_files_directories_and_links_arrive(source: Path) -> None:
    (source / "deep" / "er").mkdir(parents=True)
    (source / "deep" / "er" / "file").write_bytes(bytes(range(256)) * 5000)
    (source / "link").symlink_to("/etc/passwd")
    odd = os.fsdecode(b"\x1b\xff\n-rf")
    (source / odd).write_text("odd")
    (source / "deep" / "er").chmod(0o750)
    os.utime(source / "deep", (1_500_000_000, 1_500_000_000))
    volume = sent(source)
    assert names(volume) == {"deep", "deep/er", "deep/er/file", "link", odd}
    assert (volume / "link").readlink() == Path("/etc/passwd")
    assert (volume / "deep/er/file").read_bytes() == bytes(range(256)) * 5000
    assert ((volume / "deep/er").stat().st_mode & 0o777, (volume / "deep").stat().st_mtime) == (0o750, 1_500_000_000)


@pytest.mark.threat(95)
def test_holes_stay_holes_so_a_file_without_end_goes_in_again(source: Path) -> None:
    with (source / "endless").open("wb") as endless:
        endless.truncate(1 << 42)
        endless.seek(1 << 41)
        endless.write(b"in the middle")
    found = (sent(source) / "endless").stat()
    assert (found.st_size, found.st_blocks * 512 <= 1 << 20) == (1 << 42, True)


def test_set_id_bits_closed_modes_and_times_to_come_are_left_behind(source: Path) -> None:
    file = source / "file"
    file.write_text("")
    file.chmod(0o6755)
    os.utime(file, (time.time() + 10**6,) * 2)
    (source / "closed").write_text("")
    (source / "closed").chmod(0o400)
    volume = sent(source)
    assert stat.S_IMODE((volume / "file").stat().st_mode) == 0o755
    assert (volume / "file").stat().st_mtime <= time.time()
    assert stat.S_IMODE((volume / "closed").stat().st_mode) == 0o600


def test_what_is_no_file_is_not_sent(source: Path) -> None:
    os.mkfifo(source / "fifo")
    (source / "file").write_text("")
    assert names(sent(source)) == {"file"}


def test_a_link_that_takes_a_directorys_place_is_not_followed(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (source / "place").mkdir()
    real = os.stat

    def swapped(name: bytes, **options: object) -> os.stat_result:
        found = real(name, **options)  # type: ignore[call-overload]
        if name == b"place":
            os.rmdir(source / "place")
            os.symlink("/etc", source / "place")
        return found  # type: ignore[no-any-return]

    monkeypatch.setattr(os, "stat", swapped)
    with pytest.raises(OSError):
        sent(source)


def test_what_dockerignore_says_stays_here(source: Path) -> None:
    (source / "node_modules" / "x").mkdir(parents=True)
    (source / "node_modules" / "x" / "file").write_text("")
    (source / "kept").write_text("")
    assert names(sent(source, ("node_modules",))) == {"kept"}


def test_a_project_that_is_more_or_deeper_than_a_bottle_takes_is_refused(
    source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (source / "a" / "b").mkdir(parents=True)
    monkeypatch.setattr(packing, "MAX_DEPTH", 1)
    with pytest.raises(BottleError, match="cannot fill"):
        sent(source, ())
    monkeypatch.undo()
    monkeypatch.setattr(tree, "MAX_ENTRIES", 1)
    with pytest.raises(BottleError, match="cannot fill"):
        sent(source)


def test_of_what_a_bottle_left_the_rest_goes_in_where_something_is_too_deep(
    source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (source / "a" / "b").mkdir(parents=True)
    (source / "file").write_text("")
    monkeypatch.setattr(packing, "MAX_DEPTH", 1)
    assert names(sent(source)) == {"a", "file"}
