"""How bytes of many programs share the one channel between a keeper and a container it shares no descriptor with.

Both ends use this file: the keeper's, and the first process of the container, beside which it lies there. Pure.
"""

from __future__ import annotations

import struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

# A frame: kind, channel, size. Channel 0 is the bottle's; each program has one of its own. The streams 0, 1 and 2 are its
# stdin, stdout and stderr (a terminal has only 0 and 1); no bytes: its end. A credit says how many bytes have been taken.
HEADER = struct.Struct("<BII")
MESSAGE, CREDIT, CLOSED = 8, 16, 24  # the latter two: plus the stream
WINDOW, CHUNK, MAX_FRAME = 1 << 18, 1 << 16, 1 << 24


class Frames:
    """Cuts a stream of bytes into frames."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[tuple[int, int, bytes]]:
        """(kind, channel, content) of each frame that is complete. ValueError for one that is too large."""
        self._buffer += data
        while len(self._buffer) >= HEADER.size:
            kind, channel, size = HEADER.unpack_from(self._buffer)
            if size > MAX_FRAME:
                raise ValueError("a frame is too large")
            if len(self._buffer) < HEADER.size + size:
                return
            content = bytes(self._buffer[HEADER.size : HEADER.size + size])
            del self._buffer[: HEADER.size + size]
            yield kind, channel, content


def frame(kind: int, channel: int, content: bytes = b"") -> bytes:
    return HEADER.pack(kind, channel, len(content)) + content
