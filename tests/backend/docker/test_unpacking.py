"""A bottle's files as a stream: what `packing` says of a tree is what comes out, and nothing hostile in one leaves the
directory, fills it or waits."""

from __future__ import annotations

import io
import os
import random
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from claude_bottle.backend.docker import packing, unpacking
from claude_bottle.backend.docker.packing import (
    DATA,
    DRESS,
    END,
    ENTER,
    FILE,
    HEAD,
    LEAVE,
    LENGTH,
    LINK,
    MAX_DEPTH,
    NOTE,
    NUMBER,
    TREE,
    WHOLE,
)
from claude_bottle.backend.docker.unpacking import Unpacking
from claude_bottle.errors import BottleError
from tests.backend.docker.test_export import demand_unharmed, make_ground

PLAIN = DRESS.pack(0o644, 1_600_000_000_000_000_000)


@pytest.fixture
def yard(tmp_path: Path) -> Iterator[Path]:
    """The directory that is written into; beside it, what must not change."""
    ground = make_ground(tmp_path / "ground")
    yield ground / "yard"
    demand_unharmed(ground)


def unpack(stream: bytes, yard: Path) -> list[str]:
    directory = os.open(yard, os.O_RDONLY | os.O_DIRECTORY)
    try:
        unpacking = Unpacking(io.BytesIO(stream))
        unpacking.tree(directory)
        unpacking.end()
        return unpacking.notes
    finally:
        os.close(directory)


def packed(*places: Path) -> bytes:
    """As in its container: the very text, on an interpreter that has nothing else."""
    words = [sys.executable, "-I", "-S", "-c", Path(packing.__file__).read_text(), *map(str, places)]
    return subprocess.run(words, stdout=subprocess.PIPE, check=True, timeout=300).stdout


def frame(kind: bytes, *parts: bytes) -> bytes:
    content = b"".join(parts)
    return HEAD.pack(kind, len(content)) + content


def file(name: bytes, content: bytes = b"", *, size: int | None = None, dress: bytes = PLAIN) -> bytes:
    measures = NUMBER.pack(len(content) if size is None else size)
    held = frame(DATA, NUMBER.pack(0), content) if content else b""
    return frame(FILE, dress, measures, name) + held + frame(END)


def link(name: bytes, text: bytes) -> bytes:
    return frame(LINK, LENGTH.pack(len(name)), name, text)


def entered(name: bytes, *inside: bytes) -> bytes:
    return frame(ENTER, DRESS.pack(0o755, 0), name) + b"".join(inside) + frame(LEAVE)


def tree(*inside: bytes) -> bytes:
    return frame(TREE) + b"".join(inside) + frame(LEAVE) + frame(WHOLE)


def test_a_tree_comes_out_as_it_was(tmp_path: Path, yard: Path) -> None:
    source = tmp_path / "source"
    (source / "d" / "e").mkdir(parents=True)
    odd = os.fsdecode(b"\x1b\xff\n-rf")
    (source / "d" / odd).write_text("odd")
    (source / "large").write_bytes(os.urandom(3_000_001))
    (source / "l").symlink_to("/etc/passwd")
    (source / "up").symlink_to("../../outside")
    os.link(source / "large", source / "d" / "hard")
    os.chmod(source / "d" / odd, 0o6751)
    os.utime(source / "d" / odd, (1 << 33, 1 << 33))
    os.utime(source / "d", (1_500_000_000, 1_500_000_000))
    assert unpack(packed(source), yard) == []
    assert (yard / "large").read_bytes() == (source / "large").read_bytes() == (yard / "d" / "hard").read_bytes()
    assert ((yard / "l").readlink(), (yard / "up").readlink()) == (Path("/etc/passwd"), Path("../../outside"))
    found = (yard / "d" / odd).stat()
    assert (stat.S_IMODE(found.st_mode), found.st_size, found.st_mtime <= time.time() + 1) == (0o751, 3, True)
    assert (yard / "d").stat().st_mtime == 1_500_000_000
    assert (yard / "d" / "e").is_dir()


@pytest.mark.threat(95)
def test_pipes_sockets_and_files_without_end_hold_nothing_up_and_take_no_room(tmp_path: Path, yard: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    os.mkfifo(source / "pipe")
    with (source / "endless").open("wb") as endless:
        endless.truncate(1 << 42)
        endless.seek(1 << 41)
        endless.write(b"in the middle")
    (source / "after").write_text("after")
    stream = packed(source)
    assert len(stream) < 1 << 20
    unpack(stream, yard)
    assert sorted(path.name for path in yard.iterdir()) == ["after", "endless"]
    found = (yard / "endless").stat()
    assert (found.st_size, found.st_blocks * 512 <= 1 << 20) == (1 << 42, True)
    with (yard / "endless").open("rb") as endless:
        endless.seek(1 << 41)
        assert endless.read(14) == b"in the middle\0"


def test_what_is_too_deep_is_left_out_and_named_and_the_rest_comes(tmp_path: Path, yard: Path) -> None:
    source = tmp_path / "source"
    deep = source.joinpath(*["d"] * (MAX_DEPTH + 20))
    deep.mkdir(parents=True)
    (deep / "lost").write_text("lost")
    (source / "beside").write_text("beside")
    (note,) = unpack(packed(source), yard)
    assert note.endswith("d/d: too deep")
    assert (yard / "beside").read_text() == "beside"
    assert yard.joinpath(*["d"] * MAX_DEPTH).is_dir()
    assert not yard.joinpath(*["d"] * (MAX_DEPTH + 1)).exists()


def test_several_trees_are_apart(tmp_path: Path) -> None:
    for name in ("one", "two", "first", "second"):
        (tmp_path / name).mkdir()
    for name in ("one", "two"):
        (tmp_path / name / "file").write_text(name)
    unpacking = Unpacking(io.BytesIO(packed(tmp_path / "one", tmp_path / "two")))
    for name in ("first", "second"):
        directory = os.open(tmp_path / name, os.O_RDONLY | os.O_DIRECTORY)
        unpacking.tree(directory)
        os.close(directory)
    unpacking.end()
    assert [(tmp_path / name / "file").read_text() for name in ("first", "second")] == ["one", "two"]


def test_zeros_that_are_no_hole_take_no_room_either(yard: Path) -> None:
    content = bytes(200_000) + b"x"
    unpack(tree(file(b"f", content)), yard)
    assert (yard / "f").read_bytes() == content
    assert (yard / "f").stat().st_blocks * 512 <= 1 << 16


HOSTILE: dict[str, Callable[[], bytes]] = {
    "nothing": lambda: b"",
    "a parent": lambda: tree(file(b"..", b"x")),
    "a path": lambda: tree(file(b"../outside/canary", b"x")),
    "an absolute path": lambda: tree(file(b"/tmp/cb-evil", b"x")),
    "a directory that is a path": lambda: tree(entered(b"a/b")),
    "a parent entered": lambda: tree(entered(b"..", file(b"canary", b"x"))),
    "no name": lambda: tree(file(b"")),
    "a NUL": lambda: tree(file(b"a\0b")),
    "a link that is a path": lambda: tree(link(b"../evil", b"x")),
    "a link to nothing": lambda: tree(link(b"l", b"")),
    "a link of NUL": lambda: tree(link(b"l", b"a\0b")),
    "a link whose name is longer than it": lambda: tree(frame(LINK, LENGTH.pack(9999), b"l")),
    "a link, then a file in its place": lambda: tree(link(b"l", b"../outside/canary"), file(b"l", b"x")),
    "a link, then a directory in its place": lambda: tree(link(b"l", b"../outside"), entered(b"l", file(b"canary", b"x"))),
    "a name twice": lambda: tree(file(b"a", b"1"), file(b"a", b"2")),
    "one leave too many": lambda: tree(frame(LEAVE), file(b"canary", b"x")),
    "a second tree where there is one": lambda: frame(TREE) + frame(LEAVE) + tree(),
    "no tree": lambda: file(b"a", b"x"),
    "no end": lambda: tree()[: -HEAD.size],
    "an end in the middle": lambda: tree(file(b"a", b"x" * 5000))[:2000],
    "a file that does not end": lambda: tree(file(b"a", b"x")[: -HEAD.size], file(b"b", b"y")),
    "data without a file": lambda: tree(frame(DATA, NUMBER.pack(0), b"x")),
    "data beyond its file": lambda: tree(file(b"a", b"xxxx", size=3)),
    "data twice in one place": lambda: tree(file(b"a", b"xx")[: -HEAD.size], frame(DATA, NUMBER.pack(0), b"yy"), frame(END)),
    "data at the end of numbers": lambda: tree(
        frame(FILE, PLAIN, NUMBER.pack(8), b"a"), frame(DATA, b"\xff" * 8, b"xx"), frame(END)
    ),
    "too deep": lambda: tree(frame(ENTER, DRESS.pack(0o755, 0), b"d") * (MAX_DEPTH + 1)),
    "a frame that is too large": lambda: frame(TREE) + HEAD.pack(NOTE, 1 << 31),
    "an unknown kind": lambda: tree(frame(b"?", b"x")),
    "a file without a size": lambda: tree(frame(FILE, PLAIN, b"a")),
    "a directory without a mode": lambda: tree(frame(ENTER, b"a")),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_a_hostile_stream_is_refused_and_writes_nothing_outside(what: str, yard: Path) -> None:
    with pytest.raises(BottleError, match="refused"):
        unpack(HOSTILE[what](), yard)
    assert not os.path.exists("/tmp/cb-evil")


def test_a_file_larger_than_any_here_is_left_out_and_named(yard: Path) -> None:
    largest = (1 << 64) - 1
    data = frame(FILE, PLAIN, NUMBER.pack(largest), b"far") + frame(DATA, NUMBER.pack(largest - 9), b"data") + frame(END)
    assert unpack(tree(file(b"beyond", size=largest), data, file(b"after", b"x")), yard) == [
        "beyond: too large for the file system here", "far: too large for the file system here",
    ]  # fmt: skip
    assert [path.name for path in yard.iterdir()] == ["after"]


def test_too_many_too_large_and_too_many_notes_are_bounded(yard: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert len(unpack(tree(frame(NOTE, b"x: too deep") * 5000), yard)) <= packing.MAX_NOTES
    monkeypatch.setattr(unpacking, "MAX_ENTRIES", 3)
    with pytest.raises(BottleError, match="refused"):
        unpack(tree(*(file(b"%d" % number) for number in range(4))), yard)
    monkeypatch.setattr(unpacking, "MAX_BYTES", 1000)
    with pytest.raises(BottleError, match="refused"):
        unpack(tree(file(b"big", b"x" * 1001)), yard)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(seed=st.integers(0, 1 << 32), what=st.sampled_from(sorted(HOSTILE)), flips=st.integers(0, 12))
def test_a_mutated_stream_is_refused_or_stays_inside(
    seed: int, what: str, flips: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    place = make_ground(tmp_path_factory.mktemp("mutated") / "ground")
    chance, stream = random.Random(seed), bytearray(HOSTILE[what]() or tree())
    for _ in range(flips):
        stream[chance.randrange(min(len(stream), 4096))] = chance.randrange(256)
    try:
        unpack(bytes(stream), place / "yard")
    except BottleError:
        pass
    demand_unharmed(place)
    assert not [path for path in (place / "yard").rglob("*") if path.lstat().st_mode & 0o7000]
