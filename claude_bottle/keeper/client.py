"""The CLI's side of a keeper's control socket: attach, exec, stop, status, wait.

One `Control` is one connection and one purpose. The keeper is as trusted as its owner: its uid is checked, its output
is filtered again before a terminal sees it. Losing the connection is an outcome here, not an error: it means that the
keeper is gone, and the state on disk says what became of the bottle.
"""

from __future__ import annotations

import os
import select
import socket
from typing import TYPE_CHECKING

from claude_bottle.errors import BottleError
from claude_bottle.keeper import frames
from claude_bottle.keeper.absence import absence
from claude_bottle.values import dataclass, field

if TYPE_CHECKING:
    from collections.abc import Iterator

    from claude_bottle.state.paths import Paths

Message = dict[str, object]
DETACHED, ENDED, LOST = "detached", "ended", "lost"
# A keeper answers at once unless the machine is very busy or the keeper copies a conversation to a slow disk.
_HELLO_SECONDS = 60.0


@dataclass(frozen=True)
class Outcome:
    """How a session went on: the operator `detached`, the agent `ended` with `code`, or the keeper was `lost`."""

    how: str
    code: int | None = None


@dataclass
class Control:
    """A connection to the keeper of `identity`; `sock` is one that exists already (`Up.connection`).
    `seconds`: how long each answer may take (TimeoutError), None for as long as it takes.

    NotRunning when it cannot be reached now (`reaching`); BottleError when its keeper speaks a newer protocol than we do.
    """

    paths: Paths
    identity: str
    sock: socket.socket | None = None
    seconds: float | None = None
    _decoder: frames.Decoder = field(default_factory=frames.Decoder)
    _received: list[tuple[bytes, bytes]] = field(default_factory=list)
    _settled: Message | None = None
    _handed: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._sock = self.sock or _connect(self.paths, self.identity, self.seconds)
        self._sock.settimeout(self.seconds or _HELLO_SECONDS)
        try:
            hello: Message | None = self.next_message()
        except TimeoutError:
            hello = {}
        self._sock.settimeout(self.seconds)
        if hello is None:  # it ended while we were in its queue
            raise absence(self.paths, self.identity)
        version = hello.get("version")
        if hello.get("op") != "hello" or type(version) is not int:
            do = f"claude-bottle ls, then stop {self.identity}"
            raise BottleError(f"the keeper of {self.identity} does not answer", do=do)
        if version > frames.VERSION:
            raise BottleError(f"{self.identity} was started by a newer claude-bottle", do="use that version for it")

    def fileno(self) -> int:
        return self._sock.fileno()

    def close(self) -> None:
        self._sock.close()

    def __enter__(self) -> Control:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def send(self, message: Message) -> bool:
        """False when the keeper is gone."""
        return self.send_frame(frames.encode_json(message))

    def send_frame(self, frame: bytes) -> bool:
        try:
            self._sock.sendall(frame)
        except (BrokenPipeError, ConnectionError):
            return False
        return True

    def receive(self) -> list[tuple[bytes, bytes]] | None:
        """Wait for the next frames; None when the keeper is gone. An `error` message is raised."""
        if self._received:
            received, self._received = self._received, []
            return received
        try:
            data, fds, _, _ = socket.recv_fds(self._sock, frames.CHUNK, 1)
            self._handed += fds
        except ConnectionError:
            data = b""
        try:
            return self._decoder.feed(data) if data else None
        except frames.ProtocolError as problem:
            raise BottleError(f"the keeper of {self.identity} is not understood", why=str(problem)) from problem

    def put_back(self, received: list[tuple[bytes, bytes]]) -> None:
        """Frames to be received again, first."""
        self._received = received + self._received

    def next_message(self) -> Message | None:
        """The next JSON message, streams before it dropped; None when the keeper is gone."""
        while (received := self.receive()) is not None:
            for index, (kind, payload) in enumerate(received):
                if kind == frames.JSON:
                    self.put_back(received[index + 1 :])
                    return read(payload)
        return None

    def attach(self, fd_in: int = 0, fd_out: int = 1) -> Outcome:
        """Lend this terminal to the agent until it ends or the operator leaves. BottleError without a terminal, or as
        the keeper says (a slow terminal is dropped)."""
        from claude_bottle.keeper.interact import interact
        from claude_bottle.keeper.screen import Screen

        with Screen(fd_in, fd_out) as screen:
            rows, cols = screen.size()
            self.send({"op": "attach", "rows": rows, "cols": cols})
            return interact(self, screen, "ended")

    def exec(self, argv: list[str], *, tty: bool, stdio: tuple[int, int, int] = (0, 1, 2)) -> int:
        """Run a program in the bottle on our own stdio; its exit code. BottleError when it could not be started, the
        keeper is lost, or the operator detached from it (which hangs it up)."""
        from claude_bottle.keeper.interact import interact
        from claude_bottle.keeper.relay import relay
        from claude_bottle.keeper.screen import Screen

        request: Message = {"op": "exec", "argv": argv, "tty": tty}
        if not tty:
            self.send(request)
            return relay(self, stdio)
        with Screen(stdio[0], stdio[1]) as screen:
            rows, cols = screen.size()
            self.send({**request, "rows": rows, "cols": cols, "term": os.environ.get("TERM", "")})
            outcome = interact(self, screen, "exited")
        if outcome.code is None:
            why = "you left it" if outcome.how == DETACHED else "its keeper is gone"
            raise BottleError("the program was hung up on", why=why)
        return outcome.code

    def stop(self, timeout: float, keep: bool) -> Outcome:
        """Ask the agent to end, make it end after `timeout` seconds, and wait for that."""
        self.send({"op": "stop", "grace": timeout, "keep": keep})
        return self.wait()

    def checkpoint(self, name: str, made: str) -> str:
        """Take a checkpoint; its name once it is there. BottleError when it could not be taken."""
        self.send({"op": "checkpoint", "name": name, "made": made})
        return str(self._answer("checkpointed").get("name"))

    def rewind(self, to: str) -> str:
        """Have the bottle go back to its checkpoint `to` and on from there; the name of the one that keeps what there was
        until now. BottleError when nothing came of it."""
        self.send({"op": "rewind", "to": to})
        return str(self._answer("rewound").get("kept"))

    def work(self) -> int | None:
        """A descriptor of its private workspace, the caller's to close; None where its keeper can show none. BottleError
        when the keeper is too old to be asked, or lost."""
        self.send({"op": "work"})
        return self._handed.pop() if self._answer("work").get("here") and self._handed else None

    def status(self) -> Message:
        """What the keeper says of itself (`clients.Clients._status`)."""
        self.send({"op": "status"})
        return self._answer("status")

    def requests(self, *, everything: bool = False) -> Message:
        """What its agent asked for and what it was granted (`deciding.Deciding.message`)."""
        self.send({"op": "requests", "all": everything})
        return self._answer("requests")

    def follow_requests(self) -> Iterator[Message]:
        """The same now and after every change, until the keeper is gone."""
        self.send({"op": "follow_requests"})
        while (message := self.next_message()) is not None:
            if message.get("op") == "requests":
                yield message

    def decide(self, message: Message) -> Iterator[Message]:
        """Send an approval, a rejection or a grant; the request's view as often as it changes, the last time when it is
        settled. BottleError when nothing comes of it."""
        self.send(message)
        while True:
            found = self._answer("decided").get("request")
            view = found if isinstance(found, dict) else {}
            yield view
            if view.get("state") != "approved":
                return

    def preview(self, change: Message, request: str = "") -> Message:
        """The view of a change as if it were asked for now, in place of what `request` asks if one is named."""
        self.send({"op": "preview", "change": change, "id": request})
        found = self._answer("preview").get("view")
        return found if isinstance(found, dict) else {}

    def revoke(self, grant: str) -> Message:
        """End a grant; its view once the gate has cut what it allowed."""
        self.send({"op": "revoke", "grant": grant})
        found = self._answer("revoked").get("grant")
        return found if isinstance(found, dict) else {}

    def _answer(self, op: str) -> Message:
        while (message := self.next_message()) is not None:
            if message.get("op") == op:
                return message
        raise lost(self.identity)

    def wait(self) -> Outcome:
        """Until the agent has ended."""
        self.send({"op": "wait"})
        while (message := self.next_message()) is not None:
            if message.get("op") == "ended":
                return Outcome(ENDED, int(str(message["code"])))
        return Outcome(LOST)

    def settled(self) -> Message | None:
        """Until the bottle is gone and settled: `settle.Settled` as a dictionary; None when the keeper was lost."""
        while self._settled is None and (message := self.next_message()) is not None:
            if message.get("op") == "settled":
                self._settled = message
        return self._settled

    def ready(self, timeout: float) -> bool:
        """Whether something can be received within `timeout` seconds."""
        return bool(self._received or select.select([self._sock], [], [], timeout)[0])


def read(payload: bytes) -> Message:
    """A JSON frame's message; an `error` is raised."""
    try:
        message = frames.decode_json(payload)
    except frames.ProtocolError as problem:
        raise BottleError("the keeper is not understood", why=str(problem)) from problem
    if message.get("op") == "error":
        error = message.get("error")
        raise BottleError.from_dict(error if isinstance(error, dict) else {})
    return message


def lost(identity: str) -> BottleError:
    return BottleError(f"the keeper of {identity} is gone", why="it was killed, or this machine is going down",
                       do=f"claude-bottle resume {identity}")  # fmt: skip


def _connect(paths: Paths, identity: str, seconds: float | None = None) -> socket.socket:
    from claude_bottle.keeper.control import peer_uid
    from claude_bottle.state.sockets import connect_socket

    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    sock.settimeout(seconds)
    try:
        connect_socket(sock, paths.socket(identity))
        if peer_uid(sock) != os.geteuid():
            raise BottleError(f"the socket of {identity} belongs to another user")
    except (FileNotFoundError, ConnectionRefusedError):
        sock.close()
        raise absence(paths, identity) from None
    except (BlockingIOError, TimeoutError):  # connect(2): its queue is full
        sock.close()
        raise BottleError(f"the keeper of {identity} does not answer") from None
    except BaseException:
        sock.close()
        raise
    return sock
