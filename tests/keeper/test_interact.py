"""The order in which a terminal's signals and what is typed in it reach the keeper."""

from __future__ import annotations

import os
import pty
import select
import signal
import socket
import termios
from pathlib import Path

import pytest

from claude_bottle.keeper import frames
from claude_bottle.keeper.client import DETACHED, Control
from claude_bottle.keeper.interact import interact
from claude_bottle.keeper.screen import Screen
from claude_bottle.state.paths import Paths

IDENTITY = "docs-7ahq2c"


class Resized:
    """A look that has seen what was typed, and not yet the signal of the size that came before it."""

    def __init__(self, terminal: int) -> None:
        self._terminal, self._poll = terminal, LOOK()

    def register(self, fd: int, events: int) -> None:
        self._poll.register(fd, events)

    def poll(self, waiting: float | None) -> list[tuple[int, int]]:
        found = self._poll.poll(waiting)
        if termios.tcgetwinsize(self._terminal) != (41, 123):
            termios.tcsetwinsize(self._terminal, (41, 123))
            signal.raise_signal(signal.SIGWINCH)
        return found


LOOK = select.poll


def test_what_is_typed_does_not_overtake_the_size_that_the_window_was_given_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, keeper = socket.socketpair()
    keeper.sendall(frames.encode_json({"op": "hello", "version": frames.VERSION, "identity": IDENTITY}))
    master, slave = pty.openpty()
    try:
        with keeper, Control(Paths(tmp_path), IDENTITY, ours) as control, Screen(slave, slave) as screen:
            os.write(master, b"x\x1d")  # a key, and the one that leaves
            monkeypatch.setattr(select, "poll", lambda: Resized(slave))
            assert interact(control, screen, "ended").how == DETACHED
            control.close()
            said = b""
            while piece := keeper.recv(4096):
                said += piece
    finally:
        os.close(master)
        os.close(slave)
    assert [kind for kind, _ in frames.Decoder().feed(said)] == [frames.JSON, frames.INPUT]
