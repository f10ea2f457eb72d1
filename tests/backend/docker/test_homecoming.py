"""What a bottle wrote comes home whole or not at all, and however it is changed meanwhile, nothing else comes with it."""

from __future__ import annotations

import contextlib
import os
import threading
from pathlib import Path

import pytest

from claude_bottle.backend import tree
from claude_bottle.backend.docker import homecoming
from claude_bottle.errors import BottleError
from tests.backend.docker.bottles import Place, launched, start

HOME = "/home/agent"


@pytest.fixture
def yard(tmp_path: Path) -> Path:
    """`source` stands for a volume, `home` for what is on this host, `secret` for what neither may reach."""
    for name in ("source", "home", "secret"):
        (tmp_path / name).mkdir()
    (tmp_path / "secret" / "file").write_text("secret")
    (tmp_path / "home" / "former").write_text("former")
    return tmp_path


def fetch(yard: Path, names: tuple[str, ...] = ()) -> list[str]:
    with tree.opened(yard / "source") as source:
        if names:
            return homecoming.fetch_names(source, yard / "home", HOME, (), names)
        return homecoming.fetch(source, yard / "home", HOME, ())


def contents(directory: Path) -> dict[str, str]:
    return {str(path.relative_to(directory)): path.read_text() for path in directory.rglob("*")
            if path.is_file() and not path.is_symlink()}  # fmt: skip


def test_what_cannot_be_had_whole_leaves_the_former(yard: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (yard / "source" / "big").write_text("x" * 2000)
    monkeypatch.setattr(tree, "MAX_BYTES", 1000)
    with pytest.raises(BottleError):
        fetch(yard)
    assert contents(yard / "home") == {"former": "former"}
    assert not (yard / "home.incoming").exists()


def test_a_file_that_is_all_hole_takes_no_room_and_keeps_nothing_from_coming_home(yard: Path) -> None:
    """An image of a disk measures more than it holds; one that a hostile agent made would fill the operator's disk."""
    size = tree.MAX_BYTES * 16
    for name in ("hole", "tail", "middle"):
        (yard / "source" / name).touch()
        os.truncate(yard / "source" / name, size)
    for name, at in (("tail", size - 4), ("middle", 5 << 20)):
        with (yard / "source" / name).open("r+b") as file:
            file.seek(at)
            file.write(b"data")
    fetch(yard)
    fetch(yard, ("hole", "middle", "tail"))
    for name, data in (("hole", b""), ("tail", b"data"), ("middle", b"data")):
        found = (yard / "home" / name).stat()
        assert (found.st_size, found.st_blocks * 512 < 1 << 20) == (size, True)
        with (yard / "home" / name).open("rb") as file:
            if data:
                file.seek(os.lseek(file.fileno(), 0, os.SEEK_DATA))
                assert file.read(1 << 20).strip(b"\0") == data


def test_too_many_are_told(yard: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (yard / "source" / "a/b/c/d").mkdir(parents=True)
    monkeypatch.setattr(tree, "MAX_ENTRIES", 3)
    with pytest.raises(BottleError):
        fetch(yard)
    assert contents(yard / "home") == {"former": "former"}


@pytest.mark.threat(95)
def test_what_is_too_deep_is_left_out_and_named_and_keeps_nothing_else_away(
    yard: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (yard / "source" / "a/b/c/d").mkdir(parents=True)
    (yard / "source" / "file").write_text("beside")
    monkeypatch.setattr(tree, "MAX_DEPTH", 2)
    assert fetch(yard) == ["a/b/c: too deep"]
    assert contents(yard / "home") == {"file": "beside"}
    assert (yard / "home/a/b/c").is_dir()
    (yard / "source" / "file").write_text("again")
    assert fetch(yard, ("a", "file")) == ["a/b/c: too deep"]
    assert contents(yard / "home") == {"file": "again"}


def test_links_stay_links_and_pipes_sockets_and_devices_stay_away(yard: Path) -> None:
    source = yard / "source"
    (source / "link").symlink_to(yard / "secret" / "file")
    (source / "tree").symlink_to(yard / "secret")
    os.mkfifo(source / "pipe")
    if os.geteuid() == 0:
        os.mknod(source / "null", 0o020666, os.makedev(1, 3))
    fetch(yard)
    assert sorted(path.name for path in (yard / "home").iterdir()) == ["link", "tree"]
    assert os.readlink(yard / "home" / "link") == str(yard / "secret" / "file")


def test_a_name_whose_parent_is_a_link_is_not_there(yard: Path) -> None:
    (yard / "source" / "dir").symlink_to(yard / "secret")
    fetch(yard, ("dir/file", "dir"))
    assert contents(yard / "home") == {"former": "former"}


def test_a_link_on_this_side_is_replaced_and_never_followed(yard: Path) -> None:
    """The former home was the agent's too."""
    (yard / "source" / "dir").mkdir()
    (yard / "source" / "dir" / "file").write_text("new")
    (yard / "source" / "plain").write_text("new")
    (yard / "home" / "dir").symlink_to(yard / "secret")
    (yard / "home" / "plain").symlink_to(yard / "secret" / "file")
    fetch(yard, ("dir", "plain"))
    assert contents(yard / "home") == {"former": "former", "dir/file": "new", "plain": "new"}
    assert contents(yard / "secret") == {"file": "secret"}


def test_a_link_on_this_side_above_a_name_is_an_error(yard: Path) -> None:
    (yard / "source" / "a").mkdir()
    (yard / "source" / "a" / "file").write_text("new")
    (yard / "home" / "a").symlink_to(yard / "secret")
    with pytest.raises(BottleError):
        fetch(yard, ("a/file",))
    assert contents(yard / "secret") == {"file": "secret"}


@pytest.mark.parametrize("name", ["../secret/file", "/etc/passwd", "", ".", "a/../../secret"])
def test_a_name_that_is_not_plain_is_refused(yard: Path, name: str) -> None:
    with pytest.raises(ValueError):
        fetch(yard, (name,))


def test_a_directory_that_turns_into_a_link_and_back_never_leads_out(yard: Path) -> None:
    source, stop = yard / "source", threading.Event()
    (source / "d").mkdir()
    (source / "d" / "file").write_text("mine")

    def flip() -> None:
        while not stop.is_set():
            os.rename(source / "d", source / "kept")
            os.symlink(yard / "secret", source / "d")
            os.unlink(source / "d")
            os.rename(source / "kept", source / "d")

    flipping = threading.Thread(target=flip)
    flipping.start()
    try:
        for number in range(1500):
            target = yard / "out" / str(number)
            target.mkdir(parents=True)
            with tree.opened(source) as reading, tree.opened(target) as writing:
                tree.Copy().whole(reading, writing)
    finally:
        stop.set()
        flipping.join()
    assert set(contents(yard / "out").values()) <= {"mine"}


def test_what_turns_into_a_link_between_look_and_opening_is_not_entered(
    yard: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (yard / "source" / "d").mkdir()
    (yard / "source" / "file").write_text("mine")
    reach = tree._open

    def late(directory: int, name: str, flags: int) -> int:
        (yard / "source" / name).rename(yard / f"gone-{name}")
        (yard / "source" / name).symlink_to(yard / "secret" / ("file" if name == "file" else ""))
        return reach(directory, name, flags)

    monkeypatch.setattr(tree, "_open", late)
    with tree.opened(yard / "source") as reading, tree.opened(yard / "home") as writing:
        tree.Copy().whole(reading, writing)
    assert "secret" not in contents(yard / "home").values()


def test_a_bottle_that_changes_everything_meanwhile_gives_only_its_own(place: Place) -> None:
    flip = """
import os
os.chdir("/home/agent")
os.makedirs("d")
open("d/passwd", "w").write("mine")
print("ready", flush=True)
while True:
    os.rename("d", "kept"); os.symlink("/etc", "d"); os.unlink("d"); os.rename("kept", "d")
"""
    with launched(place) as bottle:
        end, other = os.pipe()
        process = start(bottle, "python3", "-c", flip, out=other)
        assert os.read(end, 10) == b"ready\n"
        for names in [("d", "kept")] * 300 + [()] * 30:
            with contextlib.suppress(BottleError):  # what was a link at every look is told as missing
                bottle.fetch_home(names)
        process.kill(9)
        process.wait()
        found = {path.read_text() for path in place.home.rglob("passwd") if not path.parent.is_symlink()}
    assert found <= {"mine"}
    os.close(end)
    os.close(other)
