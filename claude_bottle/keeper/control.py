"""The server side of the control socket: who may speak, and framed messages to and from them.

The socket is 0600 and every peer's uid is checked against ours (SO_PEERCRED, unix(7)); nothing from a bottle can reach
it, because it lies outside of everything a bottle sees. A peer that breaks the protocol, floods or is too slow loses
its own connection; it never blocks the keeper. What the messages mean is decided elsewhere (`main`).
"""

from __future__ import annotations

import os
import select
import socket
import struct
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from claude_bottle.errors import BottleError
from claude_bottle.keeper import frames
from claude_bottle.keeper.loop import READ, WRITE

if TYPE_CHECKING:
    from pathlib import Path

    from claude_bottle.keeper.loop import Loop, Timer

MAX_CONNECTIONS = 32
# A connection that has not said within this time what it wants is closed. Long, because its CLI may be swapped out or
# stopped; short enough that forgotten ones do not take up every place.
HELLO_SECONDS = 60.0
# Above HIGH, whoever feeds a connection should pause; below LOW it may go on.
HIGH, LOW = 512 << 10, 64 << 10
_RECEIVE = 64 << 10
# How long a peer has to take its last messages once its connection is to end. It holds up nobody but itself.
_FINISH_SECONDS = 30.0

Message = dict[str, object]


class Connection:
    """One peer. `queued` bytes wait for it to read. The `on_…` calls are set by whoever handles it."""

    def __init__(self, loop: Loop, sock: socket.socket) -> None:
        self._loop, self._sock = loop, sock
        self._decoder = frames.Decoder()
        self._out: deque[memoryview] = deque()  # whole frames, but for the first: what is left of it
        self.queued = 0
        self._finishing: Timer | None = None
        self._idle: Timer | None = None
        self.open = True
        self.asked = False  # whether it has said what it wants
        self.on_message: Callable[[Connection, Message], None] = lambda _connection, _message: None
        self.on_data: Callable[[Connection, bytes, bytes], None] = lambda _connection, _kind, _data: None
        self.on_close: list[Callable[[Connection], None]] = []
        self.on_drained: Callable[[], None] | None = None
        sock.setblocking(False)
        loop.watch(sock.fileno(), READ, self._ready)

    def expect_request(self) -> None:
        """Close the connection unless it asks for something soon."""
        self._idle = self._loop.later(HELLO_SECONDS, self.close)

    def requested(self) -> None:
        self.asked = True
        if self._idle:
            self._idle.cancel()

    def send(self, message: Message) -> None:
        self._queue(frames.encode_json(message))

    def hand(self, message: Message, fd: int) -> None:
        """A message with a descriptor, to a peer that has read all that was said before. BottleError where it has not."""
        frame = frames.encode_json(message)
        if self._out or not self.open or self._finishing:
            raise BottleError("this connection is in use")
        try:
            sent = socket.send_fds(self._sock, [frame], [fd])
        except BlockingIOError:
            raise BottleError("this connection is in use") from None
        except OSError:
            self.close()
            return
        if sent < len(frame):
            self._queue(frame[sent:])

    def stream(self, kind: bytes, data: bytes) -> None:
        """Bytes of one stream; none at all means its end."""
        for at in range(0, len(data) or 1, frames.CHUNK):
            self._queue(frames.encode(kind, data[at : at + frames.CHUNK]))

    def fail(self, problem: BottleError) -> None:
        """Tell the peer and end the connection."""
        self.send({"op": "error", "error": problem.to_dict()})
        self.finish()

    def drop(self, problem: BottleError) -> None:
        """As `fail`, for a peer that does not read: what waits for it is forgotten, but for the frame it is in."""
        if self._out:
            first = self._out.popleft()
            self._out.clear()
            self._out.append(first)
            self.queued = len(first)
        self.fail(problem)

    def hear_out(self) -> None:
        """The peer has gone: take what it still sent, up to its end, and close."""
        while self.open:
            self._receive()

    def finish(self) -> None:
        """Close once everything queued is delivered, or after a while all the same."""
        if not self.open or self._finishing:
            return
        self._finishing = self._loop.later(_FINISH_SECONDS, self.close)
        self._push()

    def fileno(self) -> int:
        return self._sock.fileno()

    def close(self) -> None:
        if not self.open:
            return
        self.open = False
        for timer in (self._finishing, self._idle):
            if timer:
                timer.cancel()
        self._loop.unwatch(self._sock.fileno())
        self._sock.close()
        self._out.clear()
        self.queued = 0
        for call in list(self.on_close):
            call(self)

    def _queue(self, data: bytes) -> None:
        if self.open and not self._finishing:
            self._out.append(memoryview(data))
            self.queued += len(data)
            self._push()

    def _push(self) -> None:
        try:
            while self._out:
                sent = self._sock.send(self._out[0])
                self.queued -= sent
                if sent == len(self._out[0]):
                    self._out.popleft()
                else:
                    self._out[0] = self._out[0][sent:]
        except BlockingIOError:
            pass
        except OSError:
            self.close()
            return
        if self._finishing and not self._out:
            self.close()
            return
        self._loop.watch(self._sock.fileno(), READ | (WRITE if self._out else 0), self._ready)
        if self.on_drained and self.queued < LOW:
            self.on_drained()

    def _ready(self, ready: int) -> None:
        if ready & WRITE:
            self._push()
        if ready & READ and self.open:
            self._receive()

    def _receive(self) -> None:
        try:
            data = self._sock.recv(_RECEIVE)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self.close()
            return
        try:
            for kind, payload in self._decoder.feed(data):
                if not self.open or self._finishing:
                    return
                if kind == frames.JSON:
                    self.on_message(self, frames.decode_json(payload))
                else:
                    self.on_data(self, kind, payload)
        except frames.ProtocolError as problem:
            self.fail(BottleError("the keeper did not understand", why=str(problem)))


class Server:
    """Listens on `path` and hands every accepted connection to `on_connection`."""

    def __init__(self, loop: Loop, path: Path, on_connection: Callable[[Connection], None]) -> None:
        from claude_bottle.state.files import ensure_private_dir
        from claude_bottle.state.sockets import bind_socket

        self._loop, self._path, self._on_connection = loop, path, on_connection
        self.connections: list[Connection] = []
        ensure_private_dir(path.parent)
        self._sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
        bind_socket(self._sock, path)
        self._sock.listen(MAX_CONNECTIONS)
        loop.watch(self._sock.fileno(), READ, self._accept)

    def adopt(self, sock: socket.socket) -> Connection:
        """Serve a connection that was not made through the path: the CLI's own, from before the fork."""
        connection = Connection(self._loop, sock)
        self.connections.append(connection)
        connection.on_close.append(self.connections.remove)
        self._on_connection(connection)
        return connection

    def close(self) -> None:
        """Take no new connections and remove the name; the open ones stay. May be called again."""
        if self._sock.fileno() >= 0:
            self._loop.unwatch(self._sock.fileno())
            self._sock.close()
            try:
                os.unlink(self._path)
            except FileNotFoundError:
                pass

    def _accept(self, _ready: int) -> None:
        try:
            sock, _ = self._sock.accept()
        except OSError:
            return
        if peer_uid(sock) != os.geteuid():
            sock.close()
            return
        if len(self.connections) >= MAX_CONNECTIONS:
            self._let_go()
        if len(self.connections) >= MAX_CONNECTIONS:
            _refuse(sock)
            return
        self.adopt(sock).expect_request()

    def _let_go(self) -> None:
        """Close the connections whose peers have gone. A round of the loop may show us a new client before the end of
        an old one whose place it is to have."""
        connections = {connection.fileno(): connection for connection in self.connections}
        poll = select.poll()
        for fd in connections:
            poll.register(fd, 0)  # POLLHUP is always told
        for fd, _event in poll.poll(0):
            connections[fd].hear_out()


def _refuse(sock: socket.socket) -> None:
    """Tell a client of ours why it is not served. It has just come, so there is room for one frame."""
    problem = BottleError("the keeper has too many connections", why=f"it serves {MAX_CONNECTIONS} at a time",
                          do="close some of its terminals")  # fmt: skip
    sock.setblocking(False)
    try:
        sock.send(frames.encode_json({"op": "error", "error": problem.to_dict()}))
    except OSError:
        pass  # it has gone
    sock.close()


def peer_uid(sock: socket.socket) -> int:
    """The uid of who connected (or, for a client, of who listens), as the kernel noted it then."""
    _pid, uid, _gid = struct.unpack("3i", sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    return int(uid)
