"""Two sockets joined in the kernel with splice(2): no byte of an opaque tunnel passes through this program.

Half-closes travel as such; the tunnel ends when both directions have, when either side breaks, or when nothing has moved
for the idle time. May touch: the two sockets and the two pipes between them.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from claude_bottle.gate import limits
from claude_bottle.gate.loop import EDGE, READ, WRITE, Loop
from claude_bottle.model.policy import BUDGET_SPENT

if TYPE_CHECKING:
    from claude_bottle.gate.budget import Budget

_SPLICE_F_MOVE, _SPLICE_F_NONBLOCK = 1, 2
_FLAGS = _SPLICE_F_MOVE | _SPLICE_F_NONBLOCK
# Pipe memory is rationed per user (pipe-user-pages-soft, 64 MiB by default), so only a direction that carries much gets a
# large pipe; where there is no more of it, the pipe stays as it is.
_PIPE_SIZE = 1 << 20
_ROUNDS = 8  # per turn, so that one busy tunnel leaves room for the others


class Spent(Exception):
    """There is nothing left of the budget."""


class _Way:
    """One direction: from `source` through a pipe to `sink`."""

    def __init__(self, source: socket.socket, sink: socket.socket, first: bytes, budget: Budget | None = None) -> None:
        self.source, self.sink, self._budget = source, sink, budget
        self.read_end, self.write_end = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self.large = False
        self.first = first
        self.held = 0  # bytes in the pipe
        self.moved = 0
        self.ended = False  # the source has nothing more
        self.done = False  # and the sink has been told

    def step(self) -> bool:
        """Move what can be moved without waiting, but not for ever; whether there may be more at once. OSError when
        either side is broken."""
        if self.first and not self._send_first():
            return False
        for _ in range(_ROUNDS):
            if not self.held and not self._fill():
                return False
            if self.held and not self._drain():
                return False
        return True

    def _send_first(self) -> bool:
        try:
            sent = self.sink.send(self.first)
        except BlockingIOError:
            return False
        self.first = self.first[sent:]
        return not self.first

    def _fill(self) -> bool:
        if self.ended:
            if not self.done:
                self.done = True
                self.sink.shutdown(socket.SHUT_WR)
            return False
        try:
            count = os.splice(self.source.fileno(), self.write_end, self._room(), flags=_FLAGS)
        except BlockingIOError:
            return False
        if self._budget is not None:
            self._budget.takes(count)
        self.held += count
        self.ended = count == 0
        return True

    def _room(self) -> int:
        """How much may be taken from the source at once."""
        left = self._budget.left if self._budget is not None else None
        if left == 0:
            raise Spent
        return _PIPE_SIZE if left is None else min(_PIPE_SIZE, left)

    def _drain(self) -> bool:
        try:
            count = os.splice(self.read_end, self.sink.fileno(), self.held, flags=_FLAGS)
        except BlockingIOError:
            return False
        self.held -= count
        self.moved += count
        if not self.large and self.moved > _PIPE_SIZE:
            self.large = True
            with contextlib.suppress(OSError):
                fcntl.fcntl(self.write_end, fcntl.F_SETPIPE_SZ, _PIPE_SIZE)
        return True

    def close(self) -> None:
        os.close(self.read_end)
        os.close(self.write_end)


class Tunnel:
    """`first`: (bytes for the upstream, bytes for the client) to send before anything else; `budget` is what may still go
    up; `ended` is called once with
    the bytes moved up and down and why it ended ("" when both sides were through)."""

    def __init__(
        self, loop: Loop, client: socket.socket, upstream: socket.socket, first: Sequence[bytes], budget: Budget,
        ended: Callable[[int, int, str], None],
    ) -> None:  # fmt: skip
        self._loop, self._client, self._upstream, self._ended = loop, client, upstream, ended
        self._up = _Way(client, upstream, first[0], budget)
        try:
            self._down = _Way(upstream, client, first[1])
        except OSError:
            self._up.close()
            raise
        self._timer = loop.after(limits.TUNNEL_IDLE, lambda: self.end("idle for too long"))
        self._over = False
        # Edge-triggered: a side that hung up while the other one is slow must not wake us over and over.
        loop.watch(client.fileno(), READ | WRITE | EDGE, lambda events: self._ready(events, self._up, self._down))
        loop.watch(upstream.fileno(), READ | WRITE | EDGE, lambda events: self._ready(events, self._down, self._up))

    def _ready(self, events: int, out: _Way, into: _Way) -> None:
        """Something happened on a socket that is the source of `out` and the sink of `into`."""
        if self._over:
            return
        self._timer.at = self._loop.now + limits.TUNNEL_IDLE
        try:
            more = events & ~WRITE and out.step()
            more_in = events & ~READ and into.step()
        except OSError as broken:
            self.end(os.strerror(broken.errno or 0))
            return
        except Spent:
            self.end(BUDGET_SPENT)
            return
        if self._up.done and self._down.done:
            self.end("")
        elif more or more_in:
            again = (READ if more else 0) | (WRITE if more_in else 0)
            self._loop.submit(lambda: self._ready(again, out, into))

    def end(self, why: str) -> None:
        """End it now, both ways."""
        if self._over:
            return
        self._over = True
        self._timer.cancel()
        for sock in (self._client, self._upstream):
            self._loop.forget(sock.fileno())
            sock.close()
        self._up.close()
        self._down.close()
        self._ended(self._up.moved, self._down.moved, why)
