"""One TCP connection of the gate: reading into a shared buffer, writing without waiting, closing without losing.

The owner gets `received`, `ended`, `lost`, `clogged` and `drained` calls and may pause reading; what cannot be sent at
once is queued, and a queue above the high-water mark is told so that the other side is held back. May touch: its socket.
"""

from __future__ import annotations

import contextlib
import socket
from collections import deque
from typing import Protocol

from claude_bottle.gate import limits
from claude_bottle.gate.loop import HANGUP, READ, WRITE, Loop, Timer
from claude_bottle.gate.tls import READ_SIZE

_BUFFER = memoryview(bytearray(READ_SIZE))


class Owner(Protocol):
    """Who is told what happens on a link. `data` is valid during the call only."""

    def link_received(self, link: Link, data: memoryview) -> None: ...
    def link_ended(self, link: Link) -> None: ...
    def link_lost(self, link: Link) -> None: ...
    def link_clogged(self, link: Link, clogged: bool) -> None: ...


class Link:
    """`number` is the owner's name for it."""

    __slots__ = (
        "_broken", "_clogged", "_closing", "_deadline", "_ended", "_loop", "_mask", "_out", "_out_size", "_paused", "closed",
        "number", "owner", "sock",
    )  # fmt: skip

    def __init__(self, loop: Loop, sock: socket.socket, owner: Owner, number: int) -> None:
        self._loop, self.sock, self.owner, self.number = loop, sock, owner, number
        self._out: deque[memoryview] = deque()
        self._out_size = 0
        self._paused = self._ended = self._closing = self._clogged = self._broken = self.closed = False
        self._deadline: Timer | None = None
        self._mask = READ
        if sock.family != socket.AF_UNIX:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        loop.watch(sock.fileno(), READ, self._ready)

    def adopt(self, owner: Owner, number: int) -> None:
        """Change owners, between two uses."""
        self.owner, self.number = owner, number
        self.resume()

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Send, or queue what does not go at once. A view is copied before this returns."""
        if self.closed or self._broken or not data:
            return
        if not self._out:
            try:
                sent = self.sock.send(data)
            except BlockingIOError:
                sent = 0
            except OSError:
                self._take_no_more()
                return
            if sent == len(data):
                return
            data = memoryview(data)[sent:]
        self._out.append(memoryview(bytes(data)))
        self._out_size += len(data)
        self._update()
        if self._out_size > limits.HIGH_WATER and not self._clogged:
            self._clogged = True
            self._loop.submit(self._tell_clogged)

    def _tell_clogged(self) -> None:
        if self._clogged and not self.closed:
            self.owner.link_clogged(self, True)

    def pause(self) -> None:
        self._paused = True
        self._update()

    def resume(self) -> None:
        self._paused = False
        self._update()

    @property
    def waiting(self) -> int:
        """Bytes not sent yet."""
        return self._out_size

    def take_waiting(self) -> bytes:
        """What is queued, given to the caller to send instead."""
        data = b"".join(self._out)
        self._out.clear()
        self._out_size = 0
        return data

    def close(self) -> None:
        """Send what waits, say goodbye, give the peer a moment to take it all, then close."""
        if self.closed or self._closing:
            return
        self._closing = True
        self._deadline = self._loop.after(limits.FLUSH, self.abort)
        self._farewell()

    def _farewell(self) -> None:
        if not self._out:
            with contextlib.suppress(OSError):
                self.sock.shutdown(socket.SHUT_WR)
            if self._ended:
                self.abort()
                return
            if self._deadline is not None:
                self._deadline.at = min(self._deadline.at, self._loop.now + limits.LINGER)
        self._update()

    def abort(self) -> None:
        """Close now."""
        if not self.closed:
            self.closed = True
            if self._deadline is not None:
                self._deadline.cancel()
            self._loop.forget(self.sock.fileno())
            self.sock.close()
            self._out.clear()
            self.owner.link_lost(self)

    def detach(self) -> socket.socket:
        """Give the socket away; the link is no more. Only with nothing waiting."""
        self.closed = True
        self._loop.forget(self.sock.fileno())
        return self.sock

    def _ready(self, events: int) -> None:
        if events & WRITE and self._out:
            self._send()
        if self.closed:
            return
        if events & READ and self._mask & READ:
            self._read()
        elif events & HANGUP:
            self.abort()

    def _read(self) -> None:
        try:
            count = self.sock.recv_into(_BUFFER)
        except BlockingIOError:
            return
        except OSError:
            self.abort()
            return
        if self._closing:
            if not count:
                self.abort()
            return
        if count:
            self.owner.link_received(self, _BUFFER[:count])
            return
        if self._broken:
            self.abort()
            return
        self._ended = True
        self._update()
        self.owner.link_ended(self)

    def _send(self) -> None:
        try:
            while self._out:
                sent = self.sock.send(self._out[0])
                self._out_size -= sent
                if sent < len(self._out[0]):
                    self._out[0] = self._out[0][sent:]
                    break
                self._out.popleft()
        except BlockingIOError:
            pass
        except OSError:
            self._take_no_more()
            return
        if self._clogged and self._out_size < limits.LOW_WATER:
            self._clogged = False
            if not self._closing:
                self.owner.link_clogged(self, False)
        if not self._out and self._closing and not self.closed:
            self._farewell()
        self._update()

    def _take_no_more(self) -> None:
        """The peer has broken off. What it said before, like a server its refusal of a long upload, is still read."""
        self._broken = True
        self.take_waiting()
        self._update()
        if not self._mask & READ or self._closing:
            self._loop.submit(self.abort)  # not from within the owner's own call

    def _update(self) -> None:
        if self.closed:
            return
        mask = WRITE if self._out else 0
        # What a peer sends may be answered whatever the owner does (TLS key updates are): one that sends and never reads
        # is not read either.
        held_back = self._paused or self._out_size > 2 * limits.HIGH_WATER
        if not self._ended and (not held_back or self._closing):
            mask |= READ
        if mask != self._mask:
            self._mask = mask
            self._loop.change(self.sock.fileno(), mask)
