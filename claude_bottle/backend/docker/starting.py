"""A container on its way up: the engine's client that starts it, or the engine itself where it can be asked directly.

Whoever waits for the container's first process watches this beside it: what is readable here has said how the start
went. The engine is asked itself only where it is docker's and reached by a socket of this machine; a request that it
does not take is left to the client, whose words for what is wrong are the ones people know.
"""

from __future__ import annotations

import os
import select
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from claude_bottle.errors import BottleError

if TYPE_CHECKING:
    import socket
    from collections.abc import Sequence
    from pathlib import Path

    from claude_bottle.backend.docker.engine import Engine
    from claude_bottle.proc import Popen

_SECONDS = 60.0


class NeedsClient(Exception):
    """The engine cannot be asked itself, or does not take this request."""


class Starting(ABC):
    """One start. Owned by the bottle until that lets go of it."""

    @abstractmethod
    def fileno(self) -> int:
        """Becomes readable once the start has worked or failed."""

    @abstractmethod
    def complaint(self) -> bytes | None:
        """What is wrong; None when it has worked. Waits until that is known; may be called again."""

    @abstractmethod
    def give_up(self) -> None:
        """End it, however far it is; the container is the caller's to remove."""

    def collect(self) -> None:
        """Free what it holds if it has ended."""
        if self.fileno() >= 0 and select.select([self.fileno()], [], [], 0)[0]:
            self.complaint()


class ByClient(Starting):
    """The engine's client: it ends once the container runs."""

    def __init__(self, client: Popen[bytes]) -> None:
        self._client, self._ended, self._said = client, os.pidfd_open(client.pid), b""

    def fileno(self) -> int:
        return self._ended

    def complaint(self) -> bytes | None:
        if self._ended >= 0:
            _, self._said = self._client.communicate(timeout=_SECONDS)
            os.close(self._ended)
            self._ended = -1
        return self._said if self._client.returncode != 0 else None

    def give_up(self) -> None:
        self._client.kill()
        self.complaint()


class ByEngine(Starting):
    """A request to start a container that has been made; the answer has not been read yet."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._complaint: bytes | None = None

    def fileno(self) -> int:
        return self._connection.fileno()

    def complaint(self) -> bytes | None:
        from claude_bottle.backend.docker import endpoint

        if self._connection.fileno() >= 0:
            with self._connection:
                self._complaint = _message(endpoint.answer(self._connection))
        return self._complaint

    def give_up(self) -> None:
        self._connection.close()


def by_client(engine: Engine, words: Sequence[str], cwd: Path) -> Starting:
    """Start what the words of `argv.run` say. BottleError where there is no client."""
    # Podman's monitor notes an exhausted memory as a file in its working directory.
    return ByClient(engine.popen(words, stdin=-3, stdout=-3, stderr=-1, cwd=cwd))


def by_engine(engine: Engine, words: Sequence[str], cid_file: Path) -> Starting:
    """The same, and the container's id in `cid_file`. NeedsClient where the client must do it: nothing is made then.
    Else as `by_client`."""
    from claude_bottle.backend.docker import endpoint, request

    version = engine.interface
    wanted = request.body(words) if version else None
    if wanted is None:
        raise NeedsClient
    name, body = wanted
    made = endpoint.ask("POST", f"/v{version}/containers/create?name={name}", body, seconds=_SECONDS)
    if made is None or made[0] != 201 or not isinstance(made[1], dict):
        raise NeedsClient  # whose words for what is wrong are known
    cid = str(made[1].get("Id"))
    with open(cid_file, "x") as file:
        file.write(cid)
    connection = endpoint.send("POST", f"/v{version}/containers/{cid}/start", seconds=_SECONDS)
    if connection is None:
        raise BottleError("the engine does not answer any more", do="docker version   shows what it is")
    return ByEngine(connection)


def _message(answer: tuple[int, object] | None) -> bytes | None:
    if answer is not None and answer[0] in (204, 304):
        return None
    said = answer[1] if answer is not None else None
    told = str(said.get("message") or "") if isinstance(said, dict) else ""
    return (told or "the engine broke off").encode()
