from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from claude_bottle.errors import BottleError
from claude_bottle.state import beneath, files
from claude_bottle.state.damage import Damaged
from tests.state.crashes import PowerCut, each_crash


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "own").mkdir(mode=0o700)
    return tmp_path / "own"


def test_a_crash_at_any_call_leaves_the_old_or_the_new_content(place: Path) -> None:
    path = place / "record.json"
    path.write_bytes(b"old")
    crashes = 0
    for _ in each_crash(lambda: files.write_atomic(path, b"new, and longer")):
        assert path.read_bytes() in (b"old", b"new, and longer")
        path.write_bytes(b"old")
        crashes += 1
    assert path.read_bytes() == b"new, and longer"
    assert crashes >= 6


def test_a_power_cut_at_any_call_leaves_the_old_or_the_new_content(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = place / "record.json"
    path.write_bytes(b"old")
    cut = PowerCut(path, monkeypatch)
    files.write_atomic(path, b"new")
    assert set(cut.after_each_step) == {b"old", b"new"}
    assert not cut.unsynced_names, "the rename itself was not forced to the disk"


@pytest.mark.parametrize("umask", [0, 0o777])
def test_what_is_written_is_private_and_readable_whatever_the_umask(place: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        files.write_atomic(place / "a", b"x")
    finally:
        os.umask(before)
    assert (place / "a").stat().st_mode & 0o777 == 0o600


def test_a_link_in_the_place_of_a_file_is_replaced_and_not_followed(place: Path) -> None:
    canary = place / "canary"
    canary.write_bytes(b"untouched")
    (place / "record.json").symlink_to(canary)
    files.write_atomic(place / "record.json", b"new")
    assert canary.read_bytes() == b"untouched"
    assert not (place / "record.json").is_symlink()


def test_a_temporary_name_that_someone_took_beforehand_is_not_written_through(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    canary = place / "canary"
    canary.write_bytes(b"untouched")
    monkeypatch.setattr(os, "urandom", lambda count: bytes(count))
    (place / f".record.json.{'00' * 8}.tmp").symlink_to(canary)
    with pytest.raises(BottleError):
        files.write_atomic(place / "record.json", b"new")
    assert canary.read_bytes() == b"untouched"


def test_temporary_names_cannot_be_foretold(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = set()
    rename = os.rename

    def noting(source: str, *args: object, **kwargs: int) -> None:
        names.add(source)
        rename(source, *args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "rename", noting)
    for _ in range(20):
        files.write_atomic(place / "a", b"x")
    assert len(names) == 20


def test_a_failed_write_leaves_the_old_file_and_no_debris(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = place / "record.json"
    path.write_bytes(b"old")

    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(BottleError) as caught:
        files.write_atomic(path, b"new")
    assert "free some space" in caught.value.do
    assert [entry.name for entry in place.iterdir()] == ["record.json"]
    assert path.read_bytes() == b"old"


def test_reading_gives_back_what_was_written(place: Path) -> None:
    files.write_atomic(place / "a", b"content")
    assert files.read_private(place / "a", 7) == b"content"


def test_a_missing_file_is_told_from_a_bad_one(place: Path) -> None:
    with pytest.raises(FileNotFoundError):
        files.read_private(place / "a", 10)


def test_a_link_is_not_read(place: Path) -> None:
    (place / "real").write_bytes(b"secret")
    (place / "a").symlink_to(place / "real")
    with pytest.raises(Damaged, match="is a link"):
        files.read_private(place / "a", 100)


def test_a_file_with_another_name_is_not_read(place: Path) -> None:
    files.write_atomic(place / "a", b"x")
    os.link(place / "a", place / "b")
    with pytest.raises(Damaged, match="another name"):
        files.read_private(place / "a", 100)


def meanwhile(monkeypatch: pytest.MonkeyPatch, name: str, happens: Callable[[], object]) -> None:
    """Something happens just after a file of that name was opened, once."""
    real, left = os.open, [happens]

    def opening(path: object, *args: object, **kwargs: int) -> int:
        fd = real(path, *args, **kwargs)  # type: ignore[arg-type]
        if left and str(path).endswith(name):
            left.pop()()
        return fd

    monkeypatch.setattr(os, "open", opening)


def test_a_file_that_is_replaced_while_it_is_opened_is_read_as_it_is_now(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files.write_atomic(place / "a", b"old")
    meanwhile(monkeypatch, "a", lambda: files.write_atomic(place / "a", b"new"))
    assert files.read_private(place / "a", 100) == b"new"


def test_a_file_that_is_removed_while_it_is_opened_is_missing(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files.write_atomic(place / "a", b"old")
    meanwhile(monkeypatch, "a", (place / "a").unlink)
    with pytest.raises(FileNotFoundError):
        files.read_private(place / "a", 100)


@pytest.mark.parametrize("mode", [0o620, 0o602])
def test_a_file_that_others_may_write_to_is_not_read(place: Path, mode: int) -> None:
    files.write_atomic(place / "a", b"x")
    (place / "a").chmod(mode)
    with pytest.raises(Damaged, match="written by others"):
        files.read_private(place / "a", 100)


def test_a_file_of_another_user_is_not_read(place: Path) -> None:
    path = place / "a"
    if os.geteuid() == 0:
        files.write_atomic(path, b"x")
        os.chown(path, 61234, 61234)
    else:
        path = Path("/etc/hostname")
    with pytest.raises(Damaged, match="another user"):
        files.read_private(path, 1000)


def test_a_fifo_is_refused_at_once_instead_of_waited_for(place: Path) -> None:
    os.mkfifo(place / "a", 0o600)
    with pytest.raises(Damaged, match="not a regular file"):
        files.read_private(place / "a", 100)


def test_a_file_above_its_limit_is_not_read(place: Path) -> None:
    files.write_atomic(place / "a", b"12345678")
    with pytest.raises(Damaged, match="too large"):
        files.read_private(place / "a", 7)


@pytest.mark.parametrize(
    "content",
    [
        b"", b'{"a": 1', b"\xff\xfe", b"[" * 100_000, b"[1]", b'{"a": 1} trailing', b"\0" * 50,
        b'{"a": ' + b"9" * 5000 + b"}", b'{"a": 1, "a": 2}',
    ],
    ids=range(9),
)  # fmt: skip
def test_what_is_not_one_json_object_is_refused_and_kept(place: Path, content: bytes) -> None:
    files.write_atomic(place / "a", content)
    with pytest.raises(Damaged) as caught:
        files.read_json(place / "a", 1 << 20)
    assert caught.value.why
    assert "nothing was changed" in caught.value.do
    assert (place / "a").read_bytes() == content


def test_a_remedy_can_be_copied_into_a_shell_whatever_the_path(place: Path) -> None:
    awkward = place / "it's; here"
    awkward.mkdir()
    files.write_atomic(awkward / "a", b"{")
    with pytest.raises(Damaged) as caught:
        files.read_json(awkward / "a", 1 << 20)
    command = caught.value.do.partition("move it away: ")[2]
    subprocess.run(command, shell=True, check=True)
    assert [path.name for path in awkward.iterdir()] == ["a.damaged"]


def test_no_link_is_followed_in_any_component(place: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    (outside / "deep").mkdir(parents=True)
    (outside / "deep" / "file").write_bytes(b"secret")
    (place / "deep").symlink_to(outside / "deep")
    (place / "real").mkdir()
    (place / "real" / "file").symlink_to(outside / "deep" / "file")
    directory = os.open(place, os.O_RDONLY)
    try:
        for relative in ("deep/file", "real/file"):
            with pytest.raises(OSError):
                beneath.open_beneath(directory, relative)
        with pytest.raises(OSError):
            beneath.make_dirs_beneath(directory, "deep/new")
        assert not (outside / "deep" / "new").exists()
    finally:
        os.close(directory)


@pytest.mark.parametrize("relative", ["../x", "/etc/passwd", "a/../b", "a//b", ".", "", "a\0b"])
def test_a_path_that_leads_elsewhere_is_refused(place: Path, relative: str) -> None:
    directory = os.open(place, os.O_RDONLY)
    try:
        with pytest.raises(ValueError):
            beneath.open_beneath(directory, relative)
    finally:
        os.close(directory)
