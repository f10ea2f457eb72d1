"""The gate's line to whoever starts processes for it: a wish goes up, a socket to a fresh one comes back.

Judges of pushes, and carriers to remotes that speak ssh: the gate itself may start nothing. A wish is its number and its
words, an answer the number with a socket, or with why there is none. May touch: the one socket it was given before it shut
itself in, and those that come through it.
"""

from __future__ import annotations

import contextlib
import json
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING

from claude_bottle.gate.loop import READ

if TYPE_CHECKING:
    from claude_bottle.gate.loop import Loop
    from claude_bottle.model.ssh_remote import SshRemote

JUDGE = b"judge"
CARRIER = b"ssh "
MAX_WISH = 4096
_LOST = "whoever starts it has gone"


def carrier_wish(host: str, port: int, ssh: SshRemote) -> bytes:
    """For a carrier to the remote that the rule for this host and port names."""
    return CARRIER + json.dumps({"host": host, "port": port, "ssh": ssh.to_dict()}).encode()


class Asking:
    """A process that was asked for. Exactly one of `connected` and `failed` is called later, unless cancelled."""

    def __init__(self, connected: Callable[[socket.socket], None], failed: Callable[[str], None]) -> None:
        self.connected, self.failed = connected, failed
        self.over = False

    def cancel(self) -> None:
        self.over = True


class JudgeLine:
    """Answers come in any order."""

    def __init__(self, loop: Loop, sock: socket.socket) -> None:
        self._loop, self._sock = loop, sock
        self._asked: dict[int, Asking] = {}
        self._count = 0
        sock.setblocking(False)
        loop.watch(sock.fileno(), READ, self._ready)

    def ask(self, wish: bytes, connected: Callable[[socket.socket], None], failed: Callable[[str], None]) -> Asking:
        asking = Asking(connected, failed)
        self._count += 1
        try:
            self._sock.send(b"%d " % self._count + wish)
        except OSError:
            self._loop.submit(lambda: None if asking.over else asking.failed("too many at once"))
            return asking
        self._asked[self._count] = asking
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
        number, _, why = said.partition(b" ")
        asking = self._asked.pop(int(number), None)
        if asking is None or asking.over or len(socks) != 1:
            for sock in socks:
                sock.close()
            if asking is not None and not asking.over:
                asking.over = True
                asking.failed(why.decode("utf-8", "replace"))
            return
        asking.over = True
        socks[0].setblocking(False)
        asking.connected(socks[0])

    def _lost(self) -> None:
        self._loop.forget(self._sock.fileno())
        with contextlib.suppress(OSError):
            self._sock.close()
        waiting, self._asked = list(self._asked.values()), {}
        for asking in waiting:
            if not asking.over:
                asking.over = True
                asking.failed(_LOST)
