"""Reads the tar stream in which an engine hands out a running container's files, and writes it beneath one directory.

For what is small and wanted every second, the conversation; all of a volume is read by `reader`. The stream is hostile: the
agent chose every name, link and size in it. So this is its own reader of the two dialects that engines write (POSIX.1-2001
pax and GNU long names), strict and streaming: a damaged, absolute, climbing, doubled, sparse or endless entry ends the whole.
Every name is opened beneath the directory, component by component, no link followed; only regular files, directories and
links as such are made, owned by us, without set-id bits.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from typing import IO, TYPE_CHECKING

from claude_bottle.errors import BottleError
from claude_bottle.state.beneath import make_dirs_beneath, open_beneath
from claude_bottle.values import dataclass

if TYPE_CHECKING:
    from claude_bottle.backend.docker.engine import Engine

BLOCK, CHUNK, SPAN = 512, 1 << 20, 1 << 16
# Of bytes as the stream has them, which knows no holes: more than this is not a conversation any more.
MAX_ENTRIES, MAX_DEPTH, MAX_BYTES = 200_000, 128, 2 << 30
MAX_PATH, MAX_EXTENSION = 4096, 1 << 20
_PADDING = 1 << 20
_FILE, _DIRECTORY, _LINK, _HARD_LINK = "file", "directory", "link", "hard link"
_KINDS = {b"0": _FILE, b"\0": _FILE, b"7": _FILE, b"5": _DIRECTORY, b"2": _LINK, b"1": _HARD_LINK}
# Of what is not there, in the words of docker and podman.
_ABSENT = ("could not find the file", "no such container:path", "could not be found", "no such file or directory")
_REFUSED, _CUT = "what came out of the container is refused", "it ends in the middle"
_SKIPPED = (b"3", b"4", b"6")  # devices and fifos
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


def copy_name(engine: Engine, container: str, path: str, directory: int) -> bool:
    """What it has at `path`, whatever that is, under its own name into `directory`; False when there is nothing.
    BottleError when it cannot be had whole."""
    try:
        _copy(engine, f"{container}:{path}", directory)
    except BottleError as problem:
        if any(words in problem.why.lower() for words in _ABSENT):
            return False
        raise
    return True


def _copy(engine: Engine, source: str, directory: int) -> None:
    import tempfile

    with tempfile.TemporaryFile() as errors:
        client = engine.popen(["cp", "--", source, "-"], stdin=-3, stdout=-1, stderr=errors)
        try:
            if client.stdout is None:
                raise BottleError("cannot read a container's files")
            with client.stdout as stream:
                problem = _extracting(stream, directory)
            code = client.wait()
        finally:
            client.kill()
            client.wait()
        errors.seek(0)
        if code != 0 and (problem is None or problem.why == _CUT):
            raise engine.failure(errors.read(4096))
    if problem:
        raise problem


def _extracting(stream: IO[bytes], directory: int) -> BottleError | None:
    try:
        extract(stream, directory)
        stream.read(_PADDING)  # what follows the end: a client that cannot write it fails, and may not say why
    except BottleError as problem:
        return problem
    return None


def refuse(why: str) -> BottleError:
    return BottleError(_REFUSED, why=why)


@dataclass(frozen=True)
class Member:
    """One entry. `path` has no empty, `.` or `..` part; `link` is the text of a link, or of a hard link the path."""

    kind: str
    path: tuple[str, ...]
    mode: int
    changed: float
    size: int
    link: str = ""


class _Reader:
    """Blocks of a stream, counted; a short read is a damaged stream."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream

    def exactly(self, size: int) -> bytes:
        pieces = []
        while size:
            piece = self._stream.read(min(size, CHUNK))
            if not piece:
                raise refuse(_CUT)
            pieces.append(piece)
            size -= len(piece)
        return b"".join(pieces)

    def pieces(self, size: int) -> Iterator[bytes]:
        """The next `size` bytes, and past the rest of their last block."""
        left = size
        while left:
            piece = self.exactly(min(left, CHUNK))
            left -= len(piece)
            yield piece
        self.exactly(-size % BLOCK)

    def text(self, size: int) -> bytes:
        if size > MAX_EXTENSION:
            raise refuse("a name in it is too long")
        return b"".join(self.pieces(size))


def extract(stream: IO[bytes], directory: int) -> None:
    """Write the whole stream beneath `directory`, which is empty."""
    reader = _Reader(stream)
    entries = size = 0
    for member in _members(reader):
        entries, size = entries + 1, size + member.size
        if entries > MAX_ENTRIES or size > MAX_BYTES or len(member.path) > MAX_DEPTH:
            raise refuse("it is too large, too many or too deep")
        try:
            _write(reader, member, directory)
        except (OSError, ValueError) as failure:
            raise refuse(f"{'/'.join(member.path)!r}: {failure}") from failure


def _members(reader: _Reader) -> Iterator[Member]:
    """Entry by entry; whoever takes one reads its `size` bytes."""
    longer: dict[bytes, bytes] = {}
    while True:
        header = reader.exactly(BLOCK)
        if not header.strip(b"\0"):
            return
        if _number(header[148:156]) != sum(header) - sum(header[148:156]) + 8 * ord(" "):
            raise refuse("a header in it is damaged")
        kind, size = header[156:157], _number(header[124:136])
        if kind in (b"L", b"K"):
            longer[b"path" if kind == b"L" else b"linkpath"] = reader.text(size).rstrip(b"\0")
        elif kind == b"x":
            longer.update(_pax(reader.text(size)))
        elif kind == b"g":
            reader.text(size)
        elif kind in _KINDS:
            member = _member(_KINDS[kind], header, size, longer)
            longer = {}
            if member.path:
                yield member
        elif kind in _SKIPPED:
            longer = {}
            reader.text(size)
        else:
            raise refuse(f"an entry in it is of the unknown kind {kind!r}")


def _member(kind: str, header: bytes, size: int, longer: dict[bytes, bytes]) -> Member:
    if any(key.startswith(b"GNU.sparse") for key in longer):
        raise refuse("a file in it is sparse")
    name, prefix = _until_nul(header[:100]), _until_nul(header[345:500])
    if header[257:263] == b"ustar\0" and prefix:
        name = prefix + b"/" + name
    path = longer.get(b"path", name)
    link = longer.get(b"linkpath", _until_nul(header[157:257]))
    if b"size" in longer:
        size = _decimal(longer[b"size"])
    if kind != _FILE and size:
        raise refuse("something in it that is no file has content")
    changed = longer[b"mtime"] if b"mtime" in longer else str(_number(header[136:148])).encode()
    if max(len(path), len(link)) > MAX_PATH or b"\0" in path + link:
        raise refuse("a name in it is too long")
    return Member(kind, _parts(path), _number(header[100:108]) & 0o777, _seconds(changed), size, os.fsdecode(link))


def _parts(path: bytes) -> tuple[str, ...]:
    if path.startswith(b"/"):
        raise refuse(f"the absolute name {path[:200]!r}")
    parts = tuple(os.fsdecode(part) for part in path.split(b"/") if part not in (b"", b"."))
    if ".." in parts:
        raise refuse(f"the climbing name {path[:200]!r}")
    return parts


def _pax(data: bytes) -> dict[bytes, bytes]:
    """The records of an extended header: `<length> <key>=<value>\\n` each."""
    found: dict[bytes, bytes] = {}
    while data:
        length, space, _ = data.partition(b" ")
        size = _decimal(length)
        record = data[len(length) + 1 : size]
        key, equals, value = record[:-1].partition(b"=")
        if not space or not equals or record[-1:] != b"\n" or size > len(data):
            raise refuse("an extended header in it is damaged")
        found[key] = value
        data = data[size:]
    return found


def _number(field: bytes) -> int:
    """Octal text, or base 256 where the first bit is set (GNU)."""
    if field[0] & 0x80:
        return int.from_bytes(bytes([field[0] & 0x7F]) + field[1:], "big")
    text = field.strip(b" \0")
    if not text:
        return 0
    if not text.isdigit() or b"8" in text or b"9" in text:
        raise refuse("a number in it is damaged")
    return int(text, 8)


def _decimal(text: bytes) -> int:
    if not text.isdigit() or len(text) > 18:
        raise refuse("a number in it is damaged")
    return int(text)


def _seconds(text: bytes) -> float:
    """A time, never in the future; the engine's own spelling of nonsense is now."""
    try:
        found = float(text)
    except ValueError:
        return time.time()
    return min(max(found, 0.0), time.time()) if found == found else time.time()


def _until_nul(field: bytes) -> bytes:
    return field.split(b"\0", 1)[0]


def _write(reader: _Reader, member: Member, directory: int) -> None:
    *parents, name = member.path
    if member.kind == _DIRECTORY:
        made = make_dirs_beneath(directory, "/".join(member.path))
        os.fchmod(made, member.mode | 0o700)
        os.close(made)
        return
    place = make_dirs_beneath(directory, "/".join(parents))
    try:
        if member.kind == _LINK:
            os.symlink(member.link, name, dir_fd=place)
        else:
            _write_file(reader, member, directory, place, name)
    finally:
        os.close(place)


def _write_file(reader: _Reader, member: Member, directory: int, place: int, name: str) -> None:
    writing = os.open(name, _NEW, 0o600, dir_fd=place)
    try:
        size = 0
        for piece in _content(reader, member, directory):
            _put(writing, piece, size)
            size += len(piece)
        os.ftruncate(writing, size)
        os.fchmod(writing, member.mode | 0o600)
        os.utime(writing, (member.changed, member.changed))
    finally:
        os.close(writing)


def _put(writing: int, piece: bytes, at: int) -> None:
    """Zeros stay a hole, which most of them were: the engine's stream has none, and a file that held nothing in the bottle
    must not fill this disk."""
    for offset in range(0, len(piece), SPAN):
        left, place = piece[offset : offset + SPAN], at + offset
        if not left.strip(b"\0"):
            continue
        while left:
            written = os.pwrite(writing, left, place)
            left, place = left[written:], place + written


def _content(reader: _Reader, member: Member, directory: int) -> Iterator[bytes]:
    """Its own bytes; of a hard link those of the file it names, which came before."""
    if member.kind == _FILE:
        yield from reader.pieces(member.size)
        return
    source = open_beneath(directory, "/".join(_parts(os.fsencode(member.link))))
    with open(source, "rb") as file:
        while piece := file.read(CHUNK):
            yield piece
