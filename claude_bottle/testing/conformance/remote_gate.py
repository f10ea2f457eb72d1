"""The gate's part where the backend's gate runs elsewhere: the same stand-in, inside the container the gate would be in.

It is started by the backend's own command with a program of ours in the place of the gate's; what is done with a listener
here is done there, one request at a time over its stdin and stdout. Touches that container and nothing else.
"""

from __future__ import annotations

import base64
import json
import socket
import threading
from collections.abc import Mapping
from typing import Any

from claude_bottle import proc
from claude_bottle.backend.base import GateCommand

_PROGRAM = r"""
import array, base64, json, os, socket, sys
os.umask(0)
door = socket.socket(socket.AF_UNIX)
door.bind("/run/bottle/gate.sock")
door.listen(1)
visitor, _ = door.accept()
data, fds, _, _ = socket.recv_fds(visitor, 1 << 16, 64)
said = json.loads(data)
things = {str(number): socket.socket(fileno=fd) for number, fd in enumerate(fds)}
ports = {name: things[str(number)].getsockname()[1] for number, name in enumerate(said["listeners"])}
visitor.sendall(sys.argv[1].encode())
visitor.close()
print(json.dumps({"nonce": said["nonce"], "ports": ports}), flush=True)
for line in sys.stdin:
    wanted = json.loads(line)
    thing, answer = things[wanted["on"]], ""
    try:
        thing.settimeout(wanted["seconds"])
        if wanted["do"] == "accept":
            answer = str(len(things))
            things[answer] = thing.accept()[0]
        elif wanted["do"] == "recv":
            answer = base64.b64encode(thing.recv(wanted["size"])).decode()
        elif wanted["do"] == "sendall":
            thing.sendall(base64.b64decode(wanted["data"]))
        else:
            thing.close()
        print(json.dumps({"ok": answer}), flush=True)
    except OSError as failure:
        print(json.dumps({"failed": str(failure)}), flush=True)
"""


class RemoteSocket:
    """A socket there, as far as the checks use one."""

    def __init__(self, gate: RemoteGate, number: str, port: int) -> None:
        self._gate, self._number, self._port, self._seconds = gate, number, port, 60.0

    def settimeout(self, seconds: float) -> None:
        self._seconds = seconds

    def getsockname(self) -> tuple[str, int]:
        return "", self._port

    def accept(self) -> tuple[RemoteSocket, None]:
        return RemoteSocket(self._gate, self._ask("accept"), 0), None

    def recv(self, size: int) -> bytes:
        return base64.b64decode(self._ask("recv", size=size))

    def sendall(self, data: bytes) -> None:
        self._ask("sendall", data=base64.b64encode(data).decode())

    def close(self) -> None:
        self._ask("close")

    def __enter__(self) -> RemoteSocket:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _ask(self, do: str, **more: object) -> str:
        return self._gate.ask({"do": do, "on": self._number, "seconds": self._seconds, **more})


class RemoteGate:
    """As `place.Gate`. `command` ends in what the gate's program would be run from."""

    def __init__(self, command: GateCommand, answer: bytes = b"k") -> None:
        argv = [*command.argv[:-1], "-c", _PROGRAM, answer.decode()]
        self._process = proc.popen(argv, env=command.env, stdin=proc.PIPE, stdout=proc.PIPE)
        self.bottles_end, other = socket.socketpair()
        other.close()  # it only says that there is a gate
        self._lock = threading.Lock()
        self._registered: dict[str, Any] = {}
        self._closed = False

    @property
    def nonce(self) -> str:
        return str(self._registration()["nonce"])

    @property
    def listeners(self) -> Mapping[str, RemoteSocket]:
        ports = self._registration()["ports"]
        return {name: RemoteSocket(self, str(number), port) for number, (name, port) in enumerate(ports.items())}

    def ask(self, request: dict[str, object]) -> str:
        self._registration()
        with self._lock:
            said = self._hear(json.dumps(request).encode() + b"\n")
        if "failed" in said:
            raise OSError(said["failed"])
        return str(said["ok"])

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        self.bottles_end.close()
        for stream in (self._process.stdin, self._process.stdout):
            if stream:
                stream.close()
        self._process.wait(60)

    def _registration(self) -> dict[str, Any]:
        with self._lock:
            self._registered = self._registered or self._hear(b"")
            return self._registered

    def _hear(self, request: bytes) -> dict[str, Any]:
        stdin, stdout = self._process.stdin, self._process.stdout
        if stdin is None or stdout is None:
            raise AssertionError("no pipes")
        if request:
            stdin.write(request)
            stdin.flush()
        line = stdout.readline()
        if not line:
            raise AssertionError("the gate's stand-in has ended")
        found: dict[str, Any] = json.loads(line)
        return found
