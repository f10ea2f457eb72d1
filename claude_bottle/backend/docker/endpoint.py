"""The engine's own socket, for the few questions asked on the way of every launch.

Where the client would use a plain socket of this machine, an HTTP request to it costs a millisecond instead of the 25 of
a client. Which engine is meant follows the client's rules; whenever they lead anywhere else (another host, a named
context, a client of another kind, an engine that is not docker's) there is no endpoint here, and the client is asked.
"""

from __future__ import annotations

import json
import os
import socket
from typing import Any

from claude_bottle.errors import BottleError
from claude_bottle.patterns import regex

_DEFAULT = "/var/run/docker.sock"
_LIMIT = 8 << 20
# Of the interface; what is asked here has meant the same in all of them. Engines since 25 know the newer, those before 29
# the older.
_OLDEST, _NEWEST = (1, 41), (1, 44)
# How the engine names itself in every answer; podman, which answers the same questions, says Libpod.
_DOCKER = b"\r\nserver: docker/"
# Questions that have been put and not been waited for, by who put them: a fork may have closed its copies long since.
_ahead: dict[tuple[int, str, str, str | None], socket.socket] = {}
_VERSION = regex(rb"\r\napi-version: ([0-9]{1,3})\.([0-9]{1,3})\r\n")


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


def ask(method: str, path: str, body: object = None, *, seconds: float = 20) -> tuple[int, Any] | None:
    """(status, what the JSON says) of a request; None where there is no such socket or nobody answers on it: the
    client then says why. BottleError for an answer that is none."""
    connection = _ahead.pop((os.getpid(), method, path, local_socket()), None)
    if connection is None:
        connection = send(method, path, body, seconds=seconds)
    else:
        connection.settimeout(seconds)
    if connection is None:
        return None
    with connection:
        return answer(connection)


def ask_ahead(method: str, path: str) -> None:
    """Put a question whose answer the next `ask` for it takes."""
    connection = send(method, path)
    if connection is not None:
        _ahead[os.getpid(), method, path, local_socket()] = connection


def send(method: str, path: str, body: object = None, *, seconds: float = 20) -> socket.socket | None:
    """A request that is on its way: a connection for `answer`, readable when that has come. None as for `ask`."""
    place = local_socket()
    if place is None:
        return None
    content = b"" if body is None else json.dumps(body).encode()
    # 1.0: the answer ends with the connection, and is not cut into chunks.
    head = f"{method} {path} HTTP/1.0\r\nHost: docker\r\n"
    if body is not None:
        head += f"Content-Type: application/json\r\nContent-Length: {len(content)}\r\n"
    connection = socket.socket(socket.AF_UNIX)
    try:
        connection.settimeout(seconds)
        connection.connect(place)
        connection.sendall(f"{head}\r\n".encode("ascii") + content)
    except OSError:
        connection.close()
        return None
    return connection


def answer(connection: socket.socket) -> tuple[int, Any] | None:
    """What comes of `send`; see `ask`."""
    try:
        said = _everything(connection)
    except OSError:
        return None
    if not said:
        return None  # it ended meanwhile, and may be back
    head, _, body = said.partition(b"\r\n\r\n")
    words = head.split(None, 2)
    if len(words) < 2 or not words[0].startswith(b"HTTP/") or not words[1].isdigit():
        raise BottleError("the docker engine talks nonsense", do="docker version   shows what it is")
    try:
        return int(words[1]), json.loads(body) if body.strip() else None
    except ValueError:
        return int(words[1]), None


def version() -> str | None:
    """The version of the interface to speak where a request makes something; None where the client must be asked."""
    connection = send("GET", "/_ping")
    if connection is None:
        return None
    with connection:
        try:
            said = _everything(connection).lower()
        except OSError:
            return None
    found = _VERSION.search(said)
    if not said.startswith(b"http/1.0 200 ") or _DOCKER not in said or found is None:
        return None
    spoken = min((int(found[1]), int(found[2])), _NEWEST)
    return f"{spoken[0]}.{spoken[1]}" if spoken >= _OLDEST else None


def _everything(connection: socket.socket) -> bytes:
    pieces, size = [], 0
    while piece := connection.recv(1 << 16):
        pieces.append(piece)
        size += len(piece)
        if size > _LIMIT:
            break
    return b"".join(pieces)
