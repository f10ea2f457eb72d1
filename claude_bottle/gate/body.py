"""Message bodies as streams: readers that know where a body ends, and the framing it is sent on with.

Bodies of a known length are only counted, never copied; chunked ones are read by h11 and framed anew, trailers dropped.
A reader never looks past the body's end: what follows comes back as `rest`. Pure, constant memory.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Protocol

import h11

if TYPE_CHECKING:
    from claude_bottle.gate.tls import Bytes


class BadBody(ValueError):
    """The body's framing is broken."""


class Reader(Protocol):
    """`feed` gives the body's pieces in `data`; once `done`, `rest` holds what came after the body."""

    done: bool
    rest: bytes

    def feed(self, data: Bytes) -> Iterator[Bytes]: ...


class Counted:
    """A body of `length` bytes."""

    __slots__ = ("_left", "done", "rest")

    def __init__(self, length: int) -> None:
        self._left, self.done, self.rest = length, length == 0, b""

    def feed(self, data: Bytes) -> Iterator[Bytes]:
        size = len(data)
        if size > self._left:
            self.rest = bytes(data[self._left :])
            data = data[: self._left]
            size = self._left
        self._left -= size
        self.done = self._left == 0
        if size:
            yield data


class Chunked:
    """A chunked body. `parser` is the h11 connection that parsed the head."""

    __slots__ = ("_parser", "done", "rest")

    def __init__(self, parser: h11.Connection) -> None:
        self._parser, self.done, self.rest = parser, False, b""

    def feed(self, data: Bytes) -> Iterator[Bytes]:
        if not data:
            return
        self._parser.receive_data(bytes(data))
        while True:
            try:
                event = self._parser.next_event()
            except h11.RemoteProtocolError as bad:
                raise BadBody(str(bad)) from None
            if isinstance(event, h11.Data):
                yield event.data
            elif isinstance(event, h11.EndOfMessage):
                self.done = True
                self.rest = self._parser.trailing_data[0]
                return
            else:
                return


class ToEnd:
    """A response body that ends with its connection; the caller sets `done` then."""

    __slots__ = ("done", "rest")

    def __init__(self) -> None:
        self.done, self.rest = False, b""

    def feed(self, data: Bytes) -> Iterator[Bytes]:
        if data:
            yield data


def reader(length: int | None, chunked: bool, parser: h11.Connection, *, to_end: bool = False) -> Reader:
    """The reader for a head's framing; no length at all means no body."""
    if chunked:
        return Chunked(parser)
    return ToEnd() if to_end else Counted(length or 0)


def chunk(piece: Bytes) -> tuple[Bytes, ...]:
    """A piece as one chunk: small ones as one part (one TLS record), large ones uncopied in three."""
    size = b"%x\r\n" % len(piece)
    if len(piece) <= _SMALL:
        return (b"".join((size, piece, b"\r\n")),)
    return size, piece, b"\r\n"


_SMALL = 8 * 1024
LAST_CHUNK = b"0\r\n\r\n"
