"""The framing both ends of a control socket speak: kind (1 byte), length (4 bytes, big-endian), payload.

Kind J is a JSON object, the others are raw bytes of one stream. Both ends are of one operator, yet each treats the
other's bytes as untrusted: frames are capped, unknown kinds and broken JSON are a ProtocolError for that connection
alone. The hello each side sends first carries the protocol version, so that a newer CLI can talk to an older keeper.
"""

from __future__ import annotations

import json

VERSION = 1
FRAME_LIMIT = 256 << 10
# A message: one that lists requests holds all of them whole.
MESSAGE_LIMIT = 4 << 20
CHUNK = 64 << 10
# How much piped input (`exec` without a terminal) may be on its way; the keeper says what has been `taken`.
INPUT_WINDOW = 256 << 10

JSON, INPUT, OUTPUT, ERRORS = b"J", b"0", b"1", b"2"
_KINDS = (JSON, INPUT, OUTPUT, ERRORS)
_HEADER = 5


class ProtocolError(Exception):
    """The other end does not speak our protocol. One line, without anything it sent."""


def encode(kind: bytes, payload: bytes) -> bytes:
    """One frame; for payloads up to FRAME_LIMIT, of JSON up to MESSAGE_LIMIT."""
    if len(payload) > _limit(kind):
        raise ValueError("frame too large")
    return kind + len(payload).to_bytes(4, "big") + payload


def _limit(kind: bytes) -> int:
    return MESSAGE_LIMIT if kind == JSON else FRAME_LIMIT


def encode_json(message: dict[str, object]) -> bytes:
    return encode(JSON, json.dumps(message, separators=(",", ":")).encode())


def decode_json(payload: bytes) -> dict[str, object]:
    try:
        message = json.loads(payload)
    except (ValueError, RecursionError):
        raise ProtocolError("a message is not JSON") from None
    if not isinstance(message, dict):
        raise ProtocolError("a message is not an object")
    return message


class Decoder:
    """Cuts a byte stream into frames."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    @property
    def missing(self) -> int:
        """How many more bytes the frame that has begun needs at least."""
        have = len(self._buffer)
        if have < _HEADER:
            return _HEADER - have
        return _HEADER + int.from_bytes(self._buffer[1:_HEADER], "big") - have

    def feed(self, data: bytes) -> list[tuple[bytes, bytes]]:
        """The (kind, payload) of every frame completed by `data`. ProtocolError ends the conversation."""
        self._buffer += data
        frames = []
        while len(self._buffer) >= _HEADER:
            kind, length = bytes(self._buffer[:1]), int.from_bytes(self._buffer[1:_HEADER], "big")
            if kind not in _KINDS:
                raise ProtocolError("unknown frame kind")
            if length > _limit(kind):
                raise ProtocolError("frame too large")
            if len(self._buffer) < _HEADER + length:
                break
            frames.append((kind, bytes(self._buffer[_HEADER : _HEADER + length])))
            del self._buffer[: _HEADER + length]
        return frames
