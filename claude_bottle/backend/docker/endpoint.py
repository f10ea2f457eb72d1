"""The engine's own socket, for the few questions asked on the way of every launch.

Where the client would use a plain socket of this machine, an HTTP request to it costs a millisecond instead of the 25 of
a client. Which engine is meant follows the client's rules; whenever they lead anywhere else (another host, a named
context, a client of another kind) there is no endpoint here, and the client is asked. Nothing is created this way.
"""

from __future__ import annotations

import json
import os
import socket
from typing import Any

from claude_bottle.errors import BottleError

_DEFAULT = "/var/run/docker.sock"
_LIMIT = 8 << 20


def local_socket() -> str | None:
    """The path of the socket that the docker client would use; None where it would use anything else."""
    host = os.environ.get("DOCKER_HOST", "")
    if host:
        return host.removeprefix("unix://") if host.startswith("unix:///") else None
    if os.environ.get("DOCKER_CONTEXT", "default") != "default":
        return None
    place = os.environ.get("DOCKER_CONFIG") or os.path.join(os.path.expanduser("~"), ".docker")
    try:
        with open(os.path.join(place, "config.json"), "rb") as file:
            said = json.loads(file.read(1 << 20))
    except FileNotFoundError:
        return _DEFAULT
    except (OSError, ValueError):
        return None
    return _DEFAULT if isinstance(said, dict) and said.get("currentContext") in (None, "", "default") else None


def ask(method: str, path: str, *, seconds: float = 20) -> tuple[int, Any] | None:
    """(status, what the JSON says) of a request; None where there is no such socket or nobody answers on it: the
    client then says why. BottleError for an answer that is none."""
    place = local_socket()
    if place is None:
        return None
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(seconds)
            connection.connect(place)
            # 1.0: the answer ends with the connection, and is not cut into chunks.
            connection.sendall(f"{method} {path} HTTP/1.0\r\nHost: docker\r\n\r\n".encode("ascii"))
            answer = _everything(connection)
    except OSError:
        return None
    head, _, body = answer.partition(b"\r\n\r\n")
    words = head.split(None, 2)
    if len(words) < 2 or not words[0].startswith(b"HTTP/") or not words[1].isdigit():
        raise BottleError("the docker engine talks nonsense", do="docker version   shows what it is")
    try:
        return int(words[1]), json.loads(body) if body.strip() else None
    except ValueError:
        return int(words[1]), None


def _everything(connection: socket.socket) -> bytes:
    pieces, size = [], 0
    while piece := connection.recv(1 << 16):
        pieces.append(piece)
        size += len(piece)
        if size > _LIMIT:
            break
    return b"".join(pieces)
