"""A dial through the operator's own proxy: connect to it, ask it for the place by name, and take what it opens.

The proxy's answer is read to its blank line and not a byte further: what follows is the server's. The name asked for is the
one that was judged; a server that speaks TLS still has to prove it, to us.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Callable

from claude_bottle.gate import limits
from claude_bottle.gate.core import Origin
from claude_bottle.gate.dial import Dialling
from claude_bottle.gate.loop import READ, Loop
from claude_bottle.model.policy import UPSTREAM_FAILED

_MAX_HEAD = 16 * 1024
_STATUS = re.compile(rb"HTTP/1\.[01] ([0-9]{3})[ \r]")


class ThroughProxy(Dialling):
    """`authorization`: what the proxy is sent to let us in, "" for nothing; it is said to nobody else."""

    def __init__(
        self, loop: Loop, connected: Callable[[socket.socket], None], failed: Callable[[str, str], None], origin: Origin,
        authorization: str,
    ) -> None:  # fmt: skip
        super().__init__(loop, connected, failed)
        place = f"{origin.host}:{origin.port}"
        signs = f"Proxy-Authorization: {authorization}\r\n" if authorization else ""
        self._request = f"CONNECT {place} HTTP/1.1\r\nHost: {place}\r\n{signs}\r\n".encode("ascii")
        self._head = b""

    def reached(self, sock: socket.socket) -> None:
        self._timer.cancel()
        self._timer = self._loop.after(limits.HANDSHAKE_TIMEOUT, lambda: self._refused("it did not answer in time"))
        try:
            sent = sock.send(self._request)  # into the empty buffer of a new connection
        except OSError as broken:
            self._refused(broken.strerror or str(broken))
            return
        if sent != len(self._request):
            self._refused("it took half of a request")
            return
        self._loop.watch(sock.fileno(), READ, self._answered)

    def _answered(self, _events: int) -> None:
        sock = self._sock
        if sock is None:
            return
        try:
            seen = sock.recv(_MAX_HEAD, socket.MSG_PEEK)
            # Whole up to the end of the head, and nothing of what is behind it.
            before = len(self._head)
            end = (self._head + seen).find(b"\r\n\r\n")
            self._head += sock.recv(end + 4 - before if end >= 0 else len(seen))
        except BlockingIOError:
            return
        except OSError as broken:
            self._refused(broken.strerror or str(broken))
            return
        if not seen or (end < 0 and len(self._head) > _MAX_HEAD):
            self._refused("it closed the connection" if not seen else "its answer has no end")
        elif end >= 0:
            self._judge(sock)

    def _judge(self, sock: socket.socket) -> None:
        status = _STATUS.match(self._head)
        if status is None or status[1] != b"200":
            self._refused(f"it answered {status[1].decode()}" if status else "it does not speak HTTP")
            return
        self._loop.forget(sock.fileno())
        self.done(sock)

    def _refused(self, why: str) -> None:
        self.fail(UPSTREAM_FAILED, f"the operator's proxy: {why}")
