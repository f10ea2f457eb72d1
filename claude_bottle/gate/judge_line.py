"""The gate's line to whoever starts judges of pushes: a word goes up, a socket to a fresh judge comes back.

The gate itself may start nothing. May touch: the one socket it was given before it shut itself in, and those that come
through it.
"""

from __future__ import annotations

import contextlib
import socket
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from claude_bottle.gate.loop import READ
from claude_bottle.model.policy import PUSH_REFUSED

if TYPE_CHECKING:
    from claude_bottle.gate.loop import Loop

_LOST = "whoever starts the judges of pushes has gone"


class Asking:
    """A judge that was asked for. Exactly one of `connected` and `failed` is called later, unless cancelled."""

    def __init__(self, connected: Callable[[socket.socket], None], failed: Callable[[str, str], None]) -> None:
        self.connected, self.failed = connected, failed
        self.over = False

    def cancel(self) -> None:
        self.over = True


class JudgeLine:
    """Answers come in the order of the questions."""

    def __init__(self, loop: Loop, sock: socket.socket) -> None:
        self._loop, self._sock = loop, sock
        self._asked: deque[Asking] = deque()
        sock.setblocking(False)
        loop.watch(sock.fileno(), READ, self._ready)

    def ask(self, connected: Callable[[socket.socket], None], failed: Callable[[str, str], None]) -> Asking:
        asking = Asking(connected, failed)
        try:
            self._sock.send(b"judge")
        except OSError:
            self._loop.submit(lambda: None if asking.over else asking.failed(PUSH_REFUSED, "too many pushes at once"))
            return asking
        self._asked.append(asking)
        return asking

    def _ready(self, _events: int) -> None:
        try:
            said, descriptors, _, _ = socket.recv_fds(self._sock, 1024, 4)
        except BlockingIOError:
            return
        except OSError:
            said, descriptors = b"", []
        if not said:
            self._lost()
            return
        socks = [socket.socket(fileno=descriptor) for descriptor in descriptors]
        asking = self._asked.popleft() if self._asked else None
        if asking is None or asking.over or len(socks) != 1:
            for sock in socks:
                sock.close()
            if asking is not None and not asking.over:
                asking.over = True
                asking.failed(PUSH_REFUSED, said[1:].decode("utf-8", "replace"))
            return
        asking.over = True
        socks[0].setblocking(False)
        asking.connected(socks[0])

    def _lost(self) -> None:
        self._loop.forget(self._sock.fileno())
        with contextlib.suppress(OSError):
            self._sock.close()
        while self._asked:
            asking = self._asked.popleft()
            if not asking.over:
                asking.over = True
                asking.failed(PUSH_REFUSED, _LOST)
