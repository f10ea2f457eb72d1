"""A gate that a test plays: a forked child that only carries the control line to a socket of the test's, both ways."""

from __future__ import annotations

import contextlib
import json
import os
import select
import socket
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from claude_bottle.gate.config import GateConfig
from claude_bottle.gate.control import encode
from tests.waiting import SECONDS

Message = dict[str, Any]
PEM = "-----BEGIN CERTIFICATE-----\nnone\n-----END CERTIFICATE-----\n"


class PlayedGate:
    """Give `serve` to an order; `tell` and `next` are the gate's words. `obedient`: every policy is set at once."""

    def __init__(self, *, obedient: bool = True) -> None:
        self.obedient = obedient
        self._place = tempfile.mkdtemp(prefix="cbg-")
        self._listener = socket.socket(socket.AF_UNIX)
        self._path = os.path.join(self._place, "g")
        self._listener.bind(self._path)
        self._listener.listen(4)
        self._line: socket.socket | None = None
        self._buffer = b""
        self.listeners: list[socket.socket] = []
        self.policies: list[Message] = []
        self.heard: list[Message] = []

    def serve(self, control: socket.socket, registration: socket.socket | None, config: GateConfig) -> None:
        line = socket.socket(socket.AF_UNIX)
        line.connect(self._path)
        for message in (encode("ca", pem=PEM), encode("listening"), encode("ready")):
            control.sendall(message)
        while True:
            for sock in select.select([control, line], [], [])[0]:
                other = line if sock is control else control
                data, fds, _, _ = socket.recv_fds(sock, 1 << 16, 8)
                if not data:
                    os._exit(0)
                if fds:
                    socket.send_fds(other, [data[:1]], fds)
                    other.sendall(data[1:])
                else:
                    other.sendall(data)

    @property
    def line(self) -> socket.socket:
        if self._line is None:
            self._listener.settimeout(SECONDS)
            self._line, _ = self._listener.accept()
            self._line.settimeout(SECONDS)
        return self._line

    def tell(self, op: str, **data: object) -> None:
        self.line.sendall(encode(op, **data))

    def ask(self, change: object, *, reason: str = "", via: str = "mcp", ticket: str = "t-1") -> Message:
        """Ask for it, and the keeper's answer."""
        self.tell("ask", ticket=ticket, change=change, reason=reason, via=via)
        return self.next(lambda one: one["op"] == "request" and one.get("ticket") == ticket)

    def state(self, request: str, state: str) -> Message:
        """Wait until the keeper says that this request is in this state."""
        return self.next(lambda one: one["op"] == "request" and one["id"] == request and one["state"] == state)

    def next(self, wanted: Callable[[Message], bool] | None = None) -> Message:
        """The next message that is wanted; all are kept in `heard`."""
        while True:
            message = self._receive()
            if wanted is None or wanted(message):
                return message

    def _receive(self) -> Message:
        while b"\n" not in self._buffer:
            data, fds, _, _ = socket.recv_fds(self.line, 1 << 16, 8)
            if not data:
                raise EOFError("the keeper has closed the line")
            self.listeners += [socket.socket(fileno=fd) for fd in fds]
            self._buffer += data
        line, self._buffer = self._buffer.split(b"\n", 1)
        message: Message = json.loads(line)
        self.heard.append(message)
        if message["op"] == "policy":
            self.policies.append(message)
            if self.obedient:
                self.tell("policy_set", revision=message["revision"])
        return message

    def close(self) -> None:
        for sock in (self._line, self._listener, *self.listeners):
            if sock:
                sock.close()
        with contextlib.suppress(OSError):
            os.unlink(self._path)
        Path(self._place).rmdir()
