"""The tar reader: what engines write comes out as it was, and nothing hostile in a stream leaves the directory."""

from __future__ import annotations

import io
import os
import random
import stat
import struct
import sys
import tarfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from claude_bottle.backend.docker import export
from claude_bottle.backend.docker.engine import Engine
from claude_bottle.errors import BottleError
from tests.backend.docker.bottles import Place, launched, output, start

CANARY = "untouched"


@pytest.fixture
def yard(tmp_path: Path) -> Iterator[Path]:
    """The directory that is written into; beside it, what must not change."""
    ground = make_ground(tmp_path / "ground")
    yield ground / "yard"
    demand_unharmed(ground)


def make_ground(ground: Path) -> Path:
    for name in ("outside", "yard"):
        (ground / name).mkdir(parents=True)
    (ground / "outside" / "canary").write_text(CANARY)
    return ground


def demand_unharmed(ground: Path) -> None:
    assert [path.name for path in (ground / "outside").iterdir()] == ["canary"]
    assert (ground / "outside" / "canary").read_text() == CANARY
    assert sorted(path.name for path in ground.iterdir()) == ["outside", "yard"]


def extract(stream: bytes, yard: Path) -> None:
    directory = os.open(yard, os.O_RDONLY | os.O_DIRECTORY)
    try:
        export.extract(io.BytesIO(stream), directory)
    finally:
        os.close(directory)


def archive(*members: tarfile.TarInfo | tuple[tarfile.TarInfo, bytes], form: int = tarfile.PAX_FORMAT) -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w", format=form) as tar:
        for one in members:
            member, content = one if isinstance(one, tuple) else (one, b"")
            member.size = len(content) if isinstance(one, tuple) else member.size
            tar.addfile(member, io.BytesIO(content))
    return made.getvalue()


def entry(name: str, kind: bytes = tarfile.REGTYPE, link: str = "", **fields: int) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.linkname, member.mtime = kind, link, 1_600_000_000
    for field, value in fields.items():
        setattr(member, field, value)
    return member


@pytest.mark.parametrize("form", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])
def test_what_an_engine_writes_comes_out_as_it_was(yard: Path, form: int) -> None:
    long, odd = "d/" + "n" * 180, "d/\x1b-é\udcff\n"
    stream = archive(
        entry("./", tarfile.DIRTYPE, mode=0o755), entry("d/", tarfile.DIRTYPE, mode=0o700), (entry(long), b"long"),
        (entry(odd), b"odd"), (entry("-rf", mode=0o755), b"dash"), entry("l", tarfile.SYMTYPE, "t" * 300),
        entry("hard", tarfile.LNKTYPE, long), (entry("empty"), b""), (entry("big"), b"x" * 3_000_001), form=form,
    )  # fmt: skip
    extract(stream, yard)
    assert ((yard / long).read_text(), (yard / odd).read_text(), (yard / "hard").read_text()) == ("long", "odd", "long")
    assert os.readlink(yard / "l") == "t" * 300
    assert (yard / "big").stat().st_size == 3_000_001
    assert ((yard / "d").stat().st_mode & 0o777, (yard / "-rf").stat().st_mode & 0o777) == (0o700, 0o755)
    assert (yard / "hard").stat().st_ino != (yard / long).stat().st_ino
    assert int((yard / "-rf").stat().st_mtime) == 1_600_000_000


def test_set_id_bits_owners_and_times_of_the_future_stay_behind(yard: Path) -> None:
    future = int(time.time()) + 10**8
    odd = entry("s", mode=0o6755, uid=1, gid=1, mtime=future)
    extract(archive((odd, b""), entry("d", tarfile.DIRTYPE, mode=0o7000)), yard)
    found = (yard / "s").stat()
    assert (stat.S_IMODE(found.st_mode), found.st_uid) == (0o755, os.geteuid())
    assert found.st_mtime <= time.time() + 1
    assert stat.S_IMODE((yard / "d").stat().st_mode) == 0o700


def test_devices_and_pipes_are_left_out(yard: Path) -> None:
    kinds = (tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE)
    extract(archive(*(entry(f"x{number}", kind) for number, kind in enumerate(kinds)), (entry("f"), b"")), yard)
    assert [path.name for path in yard.iterdir()] == ["f"]


# From the advisories on tarfile, tar and docker cp (CVE-2007-4559, 2025-4517, 2025-4330, 2025-4138, 2018-15664).
HOSTILE: dict[str, Callable[[], bytes]] = {
    "a parent": lambda: archive((entry("../outside/canary"), b"evil")),
    "a parent in the middle": lambda: archive((entry("a/../../outside/canary"), b"evil")),
    "an absolute name": lambda: archive((entry("/tmp/cb-evil"), b"evil")),
    "a link, then a file through it": lambda: archive(
        entry("l", tarfile.SYMTYPE, "../outside"), (entry("l/canary"), b"evil")
    ),
    "a link, then a file in its place": lambda: archive(
        entry("l", tarfile.SYMTYPE, "../outside/canary"), (entry("l"), b"evil")
    ),
    "a link, then a directory in its place": lambda: archive(
        entry("l", tarfile.SYMTYPE, "../outside"), entry("l", tarfile.DIRTYPE), (entry("l/canary"), b"evil")
    ),
    "a chain of links": lambda: archive(
        entry("a", tarfile.DIRTYPE), entry("a/b", tarfile.SYMTYPE, ".."), entry("a/b/c", tarfile.SYMTYPE, "../outside"),
        (entry("a/b/c/canary"), b"evil"),
    ),
    "a hard link out": lambda: archive(entry("h", tarfile.LNKTYPE, "../outside/canary")),
    "a hard link through a link": lambda: archive(
        entry("l", tarfile.SYMTYPE, "../outside"), entry("h", tarfile.LNKTYPE, "l/canary")
    ),
    "a hard link to a link": lambda: archive(
        entry("l", tarfile.SYMTYPE, "../outside/canary"), entry("h", tarfile.LNKTYPE, "l")
    ),
    "a hard link to nothing": lambda: archive(entry("h", tarfile.LNKTYPE, "none")),
    "a name twice": lambda: archive((entry("a"), b"1"), (entry("a"), b"2")),
    "a file, then a directory in its place": lambda: archive((entry("a"), b"1"), (entry("a/b"), b"2")),
    "too deep": lambda: archive((entry("d/" * 200 + "f"), b"")),
    "a name that is too long": lambda: archive((entry("n/" * 3000), b"")),
    "a sparse file": lambda: archive(entry("s", tarfile.GNUTYPE_SPARSE)),
    "an unknown kind": lambda: archive(entry("v", b"V")),
    "a stream that ends in a file": lambda: archive((entry("a"), b"x" * 5000))[:2000],
    "a stream that ends in a header": lambda: archive((entry("a"), b"x"))[:300],
    "no end": lambda: archive((entry("a"), b"x"))[:1024],
    "nothing": lambda: b"",
    "a wrong checksum": lambda: b"b" + archive((entry("a"), b"x"))[1:],
    "a directory with content": lambda: _patched(archive(entry("d", tarfile.DIRTYPE)), size=5),
    "a size that is no number": lambda: _patched(archive((entry("a"), b"x")), raw=b"9" * 11),
    "a size beyond all": lambda: _patched(archive((entry("a"), b"x")), raw=b"\x80" + b"\xff" * 11),
    "pax records without end": lambda: archive((entry("p", tarfile.XHDTYPE), b"x" * (2 << 20))),
    "a damaged pax record": lambda: _extended(b"99 path=x\n"),
    "a pax record that overlaps": lambda: _extended(b"1 path=x\n"),
    "a pax path with NUL": lambda: _extended(b"13 path=a\0b\n"),
    "a pax path out": lambda: _extended(b"27 path=../outside/canary2\n"),
}


def _patched(stream: bytes, *, size: int = 0, raw: bytes = b"") -> bytes:
    """With another size in its first header, and the checksum that belongs to it."""
    header = bytearray(stream[:512])
    header[124:136] = (raw or b"%011o" % size).ljust(12, b"\0")
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    return bytes(header) + stream[512:]


def _extended(record: bytes) -> bytes:
    extension = archive((entry("x", tarfile.XHDTYPE), record), form=tarfile.USTAR_FORMAT)[:1024]
    return extension + archive((entry("f"), b"evil"))


@pytest.mark.parametrize("what", HOSTILE)
def test_a_hostile_stream_is_refused_and_writes_nothing_outside(what: str, yard: Path) -> None:
    with pytest.raises(BottleError, match="refused"):
        extract(HOSTILE[what](), yard)
    assert not os.path.exists("/tmp/cb-evil")


def test_too_many_and_too_large_are_refused(yard: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export, "MAX_ENTRIES", 3)
    with pytest.raises(BottleError, match="refused"):
        extract(archive(*((entry(f"f{number}"), b"") for number in range(4))), yard)
    monkeypatch.setattr(export, "MAX_BYTES", 1000)
    with pytest.raises(BottleError, match="refused"):
        extract(archive((entry("big"), b"x" * 1001)), yard)
    assert not (yard / "big").exists()


def test_zeros_take_no_room_and_stay_zeros(yard: Path) -> None:
    """A stream has no holes: what was all hole in the bottle would fill the operator's disk."""
    content = bytes(9 << 20) + b"data" + bytes(3 << 20)
    extract(archive((entry("f"), content), (entry("none"), bytes(1 << 20))), yard)
    assert ((yard / "f").read_bytes() == content, (yard / "none").read_bytes()) == (True, bytes(1 << 20))
    assert ((yard / "f").stat().st_blocks * 512 <= 1 << 18, (yard / "none").stat().st_blocks) == (True, 0)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(seed=st.integers(0, 1 << 32), what=st.sampled_from(sorted(HOSTILE)), flips=st.integers(0, 12))
def test_a_mutated_stream_is_refused_or_stays_inside(
    seed: int, what: str, flips: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    place = make_ground(tmp_path_factory.mktemp("mutated") / "ground")
    chance = random.Random(seed)
    stream = bytearray(HOSTILE[what]() or b"\0" * 1024)
    for _ in range(flips):
        stream[chance.randrange(min(len(stream), 4096))] = chance.randrange(256)
    for at in range(0, min(len(stream) - 511, 4096), 512):  # let it past the checksum now and then
        if chance.random() < 0.7:
            stream[at + 148 : at + 156] = b" " * 8
            stream[at + 148 : at + 156] = b"%06o\0 " % sum(stream[at : at + 512])
    try:
        extract(bytes(stream), place / "yard")
    except BottleError:
        pass
    demand_unharmed(place)
    assert not [path for path in (place / "yard").rglob("*") if path.lstat().st_mode & 0o7000]


def test_a_real_container_is_read_while_it_is_changed(place: Place, yard: Path) -> None:
    """CVE-2018-15664: a directory that becomes a link and back while the engine reads it."""
    flip = """
import os
os.makedirs("/home/agent/d/e", exist_ok=True)
open("/home/agent/d/e/passwd", "w").write("mine" * 2000)
print("ready", flush=True)
while True:
    os.rename("/home/agent/d/e", "/home/agent/kept")
    os.symlink("/etc", "/home/agent/d/e")
    os.unlink("/home/agent/d/e")
    os.rename("/home/agent/kept", "/home/agent/d/e")
"""
    with launched(place) as bottle:
        end, other = os.pipe()
        process = start(bottle, "python3", "-c", flip, out=other)
        assert os.read(end, 10) == b"ready\n"
        for number in range(6):
            target = yard / str(number)
            target.mkdir()
            directory = os.open(target, os.O_RDONLY | os.O_DIRECTORY)
            try:
                export.copy_name(Engine(), bottle.name, "/home/agent", directory)
            except BottleError:
                pass  # refused is as good
            finally:
                os.close(directory)
        process.kill(9)
        process.wait()
        _, inside = output(bottle, "cat", "/etc/passwd")
    os.close(end)
    os.close(other)
    # The engine may read the file of that name in the container's own /etc; the host's is another one. Where it took
    # the size of one and the content of the other, the stream breaks off in the file, and a part of it is there.
    assert not Path("/etc/passwd").read_text().startswith(inside)
    own = ("mine" * 2000, inside)
    read = [path.read_text() for path in yard.rglob("passwd") if not path.is_symlink()]
    assert [text for text in read if not any(content.startswith(text) for content in own)] == []


def test_a_container_that_is_gone_is_an_error(place: Place, yard: Path) -> None:
    directory = os.open(yard, os.O_RDONLY | os.O_DIRECTORY)
    with pytest.raises(BottleError) as gone:
        export.copy_name(Engine(), "claude-bottle-none", "/home/agent", directory)
    os.close(directory)
    assert "No such container" in gone.value.why


def test_a_client_may_write_its_padding_late(yard: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """podman fails without a word when nobody reads it any more."""
    program = tmp_path / "bin" / "docker"
    program.parent.mkdir()
    (tmp_path / "stream").write_bytes(archive((entry("a"), b"1")).rstrip(b"\0") + bytes(2 * 512))
    program.write_text(
        f"#!{sys.executable} -IS\nimport os, select\nos.write(1, open('{tmp_path}/stream', 'rb').read())\n"
        # Until the reader has gone, or has had the time to.
        "waiting = select.poll()\nwaiting.register(1, 0)\nwaiting.poll(300)\n"
        "try:\n    os.write(1, bytes(9728))\nexcept BrokenPipeError:\n    os._exit(1)\n"
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent))
    directory = os.open(yard, os.O_RDONLY | os.O_DIRECTORY)
    try:
        export.copy_name(Engine(), "any", "/home/agent", directory)
    finally:
        os.close(directory)


def test_numbers_are_read_in_both_spellings() -> None:
    assert export._number(b"0000644\0") == 0o644
    assert export._number(b"\x80" + struct.pack(">Q", 1 << 40).rjust(11, b"\0")) == 1 << 40
