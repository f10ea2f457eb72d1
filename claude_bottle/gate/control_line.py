"""The gate's end of the control socket: never waits, never forgets, and ends the gate when the keeper is gone.

Descriptors come with the message that names them, in order; what no message has asked for is closed. May touch: the one
socket it is given.
"""

from __future__ import annotations

import array
import os
import socket
from collections import deque
from collections.abc import Callable

from claude_bottle.gate import control, limits
from claude_bottle.gate.loop import READ, WRITE, Loop

Obey = Callable[[dict[str, object], "Descriptors"], None]
_ROOM = socket.CMSG_SPACE(16 * array.array("i").itemsize)


class Descriptors:
    """What has come over the line and belongs to nobody yet."""

    def __init__(self) -> None:
        self._held: deque[int] = deque()

    def add(self, ancillary: list[tuple[int, int, bytes]]) -> None:
        for level, kind, data in ancillary:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                found = array.array("i")
                found.frombytes(data[: len(data) - len(data) % found.itemsize])
                self._held.extend(found)

    def take(self) -> int | None:
        """The oldest, which is the caller's from now on."""
        return self._held.popleft() if self._held else None

    def close(self) -> None:
        while self._held:
            os.close(self._held.popleft())


class ControlLine:
    """`obey` gets each message; `drained` is called when everything that waited has been sent."""

    def __init__(
        self, loop: Loop, sock: socket.socket, obey: Obey, gone: Callable[[], None], drained: Callable[[], None]
    ) -> None:
        self._loop, self._sock, self._obey, self._gone, self._drained = loop, sock, obey, gone, drained
        self._decoder, self._descriptors = control.Decoder(), Descriptors()
        self._out: deque[bytes] = deque()
        self._size = 0
        sock.setblocking(False)
        loop.watch(sock.fileno(), READ, self._ready)
        loop.prefer(sock.fileno())  # a bottle that floods its gate does not keep it from being told to stop

    @property
    def clogged(self) -> bool:
        return self._size > limits.CONTROL_HIGH_WATER

    @property
    def full(self) -> bool:
        """So much waits that further lines would only cost memory."""
        return self._size > 2 * limits.CONTROL_HIGH_WATER

    def send(self, line: bytes) -> None:
        self._out.append(line)
        self._size += len(line)
        self._flush()

    def _ready(self, events: int) -> None:
        if events & WRITE:
            self._flush()
            if not self._out:
                self._drained()
        try:
            data, ancillary, _, _ = self._sock.recvmsg(65536, _ROOM, socket.MSG_CMSG_CLOEXEC)
        except BlockingIOError:
            return
        except OSError:
            data, ancillary = b"", []
        self._descriptors.add(ancillary)
        if not data:
            self._gone()
            return
        try:
            for message in self._decoder.feed(data):
                self._obey(message, self._descriptors)
        except control.ControlBroken:
            self._gone()
        if not self._decoder.pending:
            self._descriptors.close()  # nothing that is still to come has asked for them

    def _flush(self) -> None:
        try:
            while self._out:
                sent = self._sock.send(self._out[0])
                self._size -= sent
                if sent < len(self._out[0]):
                    self._out[0] = self._out[0][sent:]
                else:
                    self._out.popleft()
        except BlockingIOError:
            pass
        except OSError:
            self._gone()
            return
        self._loop.change(self._sock.fileno(), READ | (WRITE if self._out else 0))
