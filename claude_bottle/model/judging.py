"""What a gate and the judge of one push say to each other: frames on a stream socket, one push and then the end.

A frame is its kind (one letter), its length (four bytes) and its payload. Either side may have been taken over by what
it reads, so the other one reads strictly: what is no frame, or comes out of turn, ends the push as refused. Pure.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from typing import Any

# From the gate: the job; the remote's history, piece by piece, and its end ("" or what went wrong); the pack, and its end.
JOB, HISTORY, HISTORY_END, PACK, PACK_END = b"J", b"H", b"h", b"P", b"p"
# From the judge: a fetch's body; send the pack now; the verdict; the pack to send on, piece by piece, and its end.
FETCH, GO, VERDICT, JUDGED, JUDGED_END = b"F", b"G", b"V", b"D", b"d"
KINDS = frozenset(b"JHhPpFGVDd")
PIECE = 64 << 10
MAX_FRAME = 4 << 20

_HEAD = struct.Struct(">cI")


class BadFrame(ValueError):
    """Not our protocol."""


def frame(kind: bytes, payload: bytes | bytearray | memoryview = b"") -> bytes:
    return _HEAD.pack(kind, len(payload)) + payload


def pieces(kind: bytes, data: bytes | bytearray | memoryview) -> Iterator[bytes]:
    """`data` in frames of a moderate size."""
    for at in range(0, len(data), PIECE):
        yield frame(kind, data[at : at + PIECE])


class Frames:
    """Bytes in, frames out."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes | bytearray | memoryview) -> Iterator[tuple[bytes, bytes]]:
        """The frames that `data` completes. Raises BadFrame."""
        self._buffer += data
        while len(self._buffer) >= _HEAD.size:
            kind, size = _HEAD.unpack_from(self._buffer)
            if kind[0] not in KINDS or size > MAX_FRAME:
                raise BadFrame("not a frame")
            end = _HEAD.size + size
            if len(self._buffer) < end:
                return
            payload = bytes(self._buffer[_HEAD.size : end])
            del self._buffer[:end]
            yield kind, payload


def said(payload: bytes) -> dict[str, Any]:
    """The object in a frame. Raises BadFrame."""
    try:
        data = json.loads(payload)
    except (ValueError, RecursionError):
        raise BadFrame("not JSON") from None
    if not isinstance(data, dict):
        raise BadFrame("not an object")
    return data


def saying(kind: bytes, **data: object) -> bytes:
    return frame(kind, json.dumps(data, separators=(",", ":")).encode())
