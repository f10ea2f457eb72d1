"""The last output of a terminal, so that whoever attaches sees where things stand.

Holds what the filter let through, in its pieces, so that a replay never starts within a character or a sequence. The
modes that dropped pieces had set are remembered and come first in a replay. Pure.
"""

from __future__ import annotations

from collections import deque

from claude_bottle.keeper.modes import Modes


class Ring:
    """At most `limit` bytes (one piece may exceed it while it is the only one)."""

    def __init__(self, limit: int = 256 << 10) -> None:
        self._limit = limit
        self._pieces: deque[bytes] = deque()
        self._size = 0
        self._before = Modes()

    def add(self, piece: bytes) -> None:
        self._pieces.append(piece)
        self._size += len(piece)
        while self._size > self._limit and len(self._pieces) > 1:
            dropped = self._pieces.popleft()
            self._size -= len(dropped)
            self._before.note(dropped)

    def modes(self) -> Modes:
        """The modes that all of the output has switched on by now."""
        for piece in self._pieces:
            self._before.note(piece)
        self._pieces.clear()
        self._size = 0
        return self._before

    def replay(self) -> bytes:
        """What to write to a fresh terminal."""
        return self._before.restoring() + b"".join(self._pieces)
