"""The line between a gate and its keeper: JSON lines, both ways, on an inherited stream socket.

Pure codec and state; the server moves the bytes. Up go the certificate, readiness and one event per decision; down come
`halt` (the journal cannot be written: refuse everything), `resume`, `stop` and refreshed credentials. The gate reads
only from its keeper here, but a line too long or not JSON still ends the gate rather than being skipped; the keeper reads
from a gate that hostile bytes may have taken over, so nothing but ControlBroken may come of any line.
"""

from __future__ import annotations

import json

MAX_LINE = 1 << 20


class ControlBroken(Exception):
    """What arrived is not our protocol; the only safe answer is to end."""


def encode(op: str, **data: object) -> bytes:
    """One message, as a line."""
    return json.dumps({"op": op, **data}, separators=(",", ":"), ensure_ascii=True).encode() + b"\n"


class Decoder:
    """Bytes in, messages out."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    @property
    def pending(self) -> bool:
        """Whether a message has begun and not ended."""
        return bool(self._buffer)

    def feed(self, data: bytes) -> list[dict[str, object]]:
        """The messages completed by `data`. Raises ControlBroken."""
        self._buffer += data
        *lines, rest = self._buffer.split(b"\n")
        if len(rest) > MAX_LINE:
            raise ControlBroken("line too long")
        self._buffer = bytearray(rest)
        return [_decode(bytes(line)) for line in lines]


def _decode(line: bytes) -> dict[str, object]:
    try:
        message = json.loads(line)
    except (ValueError, RecursionError) as broken:
        raise ControlBroken("not JSON") from broken
    if not isinstance(message, dict) or not isinstance(message.get("op"), str):
        raise ControlBroken("no op")
    return message
