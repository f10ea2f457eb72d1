"""A terminal of the bottle's, whose master side the keeper holds.

Only the slave ever goes into a bottle, so nothing the agent does (TIOCSTI, SIGHUP, hang-ups) reaches the operator's own
terminal. The keeper keeps a slave open too: a program that closes its terminal for a moment does not end the session.
Nothing here blocks: input waits in a bounded queue, output is read while the owner wants it.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING

from claude_bottle.keeper.loop import READ, WRITE

if TYPE_CHECKING:
    from claude_bottle.keeper.loop import Loop, Timer

CHUNK = 64 << 10
# What a program that does not read its input may make us hold; a terminal discards further typing, so do we.
INPUT_LIMIT = 1 << 20
# How long the other size is shown at most, for a program to be woken and read it, and how long once it has drawn
# something. Shown too shortly, both changes are one to it, and it draws nothing.
NUDGE_SECONDS, DRAW_SECONDS = 1.0, 0.05
MIN_SIZE, MAX_SIZE = 1, 4096


def size(rows: object, cols: object) -> tuple[int, int]:
    """A window size from whatever a client sent: 24×80 for nonsense, else clamped."""
    if type(rows) is not int or type(cols) is not int or rows <= 0 or cols <= 0:
        return 24, 80
    return min(max(rows, MIN_SIZE), MAX_SIZE), min(max(cols, MIN_SIZE), MAX_SIZE)


class Terminal:
    """`pty` is what `Bottle.open_pty` gave, from here on ours, `resize` sets its size. `slave` is for the program;
    `on_output(bytes)` gets what it writes while the terminal is `listening`."""

    def __init__(
        self, loop: Loop, pty: tuple[int, int], rows: int, cols: int, resize: Callable[[int, int, int], None]
    ) -> None:
        self._loop, self._set_size = loop, resize
        self._master, self.slave = pty
        os.set_blocking(self._master, False)
        self._input = bytearray()
        self._on_output: Callable[[bytes], None] | None = None
        self._nudge: Timer | None = None
        self._noticed = False
        self.rows, self.cols = rows, cols
        self._apply(rows, cols)

    def listen(self, on_output: Callable[[bytes], None] | None) -> None:
        """Start (or with None stop) reading what the program writes. While nobody listens, it blocks when the
        terminal's own buffer is full."""
        self._on_output = on_output
        self._rewatch()

    def write(self, data: bytes) -> None:
        """What the operator typed. Kept until the program takes it; beyond INPUT_LIMIT it is lost."""
        room = INPUT_LIMIT - len(self._input)
        self._input += data[:room]
        self._push()

    def resize(self, rows: int, cols: int) -> None:
        self.rows, self.cols = rows, cols
        if self._nudge is None:
            self._apply(rows, cols)

    def nudge(self) -> None:
        """Make a full-screen program draw everything again: it sees another size for a moment, then its own."""
        if self._nudge is None:
            self._apply(self.rows, self.cols - 1 if self.cols > 1 else 2)
            self._nudge, self._noticed = self._loop.later(NUDGE_SECONDS, self._settle_size), False

    def drain(self) -> bytes:
        """What has been written and not yet read; for the end, when the program is gone. Bounded."""
        pieces = []
        for _ in range(64):
            piece = self._read()
            if not piece:
                break
            pieces.append(piece)
        return b"".join(pieces)

    def close(self) -> None:
        """Hangs up: whoever still has this terminal gets SIGHUP. May be called again."""
        if self._nudge:
            self._nudge.cancel()
        if self._master >= 0:
            self._loop.unwatch(self._master)
            os.close(self.slave)
            os.close(self._master)
            self._master = self.slave = -1

    def _has_drawn(self) -> None:
        if self._nudge and not self._noticed:
            self._nudge.cancel()
            self._nudge, self._noticed = self._loop.later(DRAW_SECONDS, self._settle_size), True

    def _settle_size(self) -> None:
        self._nudge = None
        self._apply(self.rows, self.cols)

    def _apply(self, rows: int, cols: int) -> None:
        if self._master >= 0:
            self._set_size(self._master, rows, cols)

    def _rewatch(self) -> None:
        if self._master >= 0:
            events = (READ if self._on_output else 0) | (WRITE if self._input else 0)
            self._loop.watch(self._master, events, self._ready)

    def _ready(self, ready: int) -> None:
        if ready & WRITE:
            self._push()
        if ready & READ and self._on_output:
            data = self._read()
            if data:
                self._on_output(data)
                self._has_drawn()

    def _push(self) -> None:
        try:
            while self._input and self._master >= 0:
                del self._input[: os.write(self._master, self._input[:CHUNK])]
        except BlockingIOError:
            pass
        except OSError:
            self._input.clear()
        self._rewatch()

    def _read(self) -> bytes:
        if self._master < 0:
            return b""
        try:
            return os.read(self._master, CHUNK)
        except OSError:
            return b""
