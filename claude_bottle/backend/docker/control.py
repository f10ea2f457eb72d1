"""The keeper's end of the one connection to a container's first process.

Messages are JSON, one a packet, with descriptors beside them; every request has a number and one answer. What arrives
is judged as coming from a hostile place: bounded, of the expected kind, or the bottle counts as gone. Requests may come
from several threads; one is under way at a time.
"""

from __future__ import annotations

import json
import os
import socket
import struct
import threading
from typing import Any

from claude_bottle.errors import BottleError

ANSWER_SECONDS = 30.0
_LIMIT, _MAX_FDS = 1 << 16, 200
_PEER = struct.Struct("=iII")


class Control:
    """`what` begins every error: what could not be done is said by the caller."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection, self._number, self._lock = connection, 0, threading.Lock()
        connection.settimeout(ANSWER_SECONDS)

    def peer(self) -> int:
        """The process id of the other end, as this process sees it (0: it is not to be seen from here)."""
        found = self._connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size)
        return int(_PEER.unpack(found)[0])

    def send(self, message: dict[str, Any], fds: tuple[int, ...] = ()) -> None:
        socket.send_fds(self._connection, [json.dumps(message).encode()], list(fds))

    def receive(self) -> tuple[dict[str, Any], list[int]]:
        """(message, descriptors, which are closed on exec). BottleError when the other end is gone or talks nonsense."""
        try:
            # Not `socket.recv_fds`, which drops its flags.
            room = socket.CMSG_SPACE(_MAX_FDS * 4)
            data, ancillary, flags, _ = self._connection.recvmsg(_LIMIT, room, socket.MSG_CMSG_CLOEXEC)
        except OSError as failure:
            raise BottleError("the bottle does not answer", why=str(failure)) from None
        fds = [fd for level, kind, raw in ancillary if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS)
               for fd in struct.unpack(f"{len(raw) // 4}i", raw[: len(raw) // 4 * 4])]  # fmt: skip
        try:
            message = json.loads(data) if data and not flags & (socket.MSG_TRUNC | socket.MSG_CTRUNC) else None
        except ValueError:
            message = None
        if not isinstance(message, dict):
            close_all(fds)
            why = "its first process talks nonsense" if data else "its first process is gone"
            raise BottleError("the bottle does not answer", why=why)
        return message, fds

    def ask(self, what: str, order: dict[str, Any], fds: tuple[int, ...] = (), *, returns: int = 0) -> list[int]:
        """Have an order carried out; the `returns` descriptors it results in. BottleError(`what`) if it is not."""
        with self._lock:
            self._number += 1
            try:
                self.send({**order, "n": self._number}, fds)
                answer, passed = self._answer()
            except (BottleError, OSError) as failure:
                why = failure.why if isinstance(failure, BottleError) else "it is gone"
                raise BottleError(what, why=why) from None
        if answer.get("op") == "done" and len(passed) == returns:
            return passed
        close_all(passed)
        raise BottleError(what, why=str(answer.get("why") or "its first process talks nonsense")[:500])

    def close(self) -> None:
        """Its other end takes this as the end of the bottle."""
        self._connection.close()

    def _answer(self) -> tuple[dict[str, Any], list[int]]:
        while True:
            answer, passed = self.receive()
            if answer.get("n") == self._number:
                return answer, passed
            close_all(passed)  # the answer to a request that was given up


def close_all(fds: list[int]) -> None:
    for fd in fds:
        os.close(fd)
