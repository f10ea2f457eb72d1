"""What is let into a gate's container after its boot: the listener of a new port, and lines to whoever works for the gate.

The container's first process does this for the gate, its child, which can open nothing any more. A port's listener comes as
the first ones came, over a socket in the directory shared with the bottle, which is there until the right nonce has been
said on it. A line is a process that the keeper starts in this container, whose stdin and stdout are the other end; it is
passed to the gate by descriptor, as a keeper beside it would have done. The words of both sides are not looked at.
"""

from __future__ import annotations

import contextlib
import os
import queue
import socket
import threading
import time
from typing import TYPE_CHECKING

from claude_bottle.errors import BottleError
from claude_bottle.gate import registration
from claude_bottle.gate.control import encode

if TYPE_CHECKING:
    from collections.abc import Callable

    Message = dict[str, object]

# For the bottle to bring a listener that was announced, and for one visitor to say what it has to say.
_DOOR_SECONDS, _VISIT_SECONDS = 60.0, 10.0
# For a process that the keeper starts here to be there.
_LINE_SECONDS = 60.0
_CHUNK, _MAX_WISH = 1 << 16, 4096


class Downward:
    """The way to the gate: whole lines, each with its descriptor, from several threads."""

    def __init__(self, control: socket.socket) -> None:
        self._control, self._alone = control, threading.Lock()

    def pass_on(self, line: bytes, descriptors: tuple[int, ...] = ()) -> None:
        with self._alone:
            sent = socket.send_fds(self._control, [line], descriptors)
            if rest := line[sent:]:  # not even nothing can be sent to one that has ended
                self._control.sendall(rest)


class Upward:
    """The way to the keeper: the same, out of stdout."""

    def __init__(self, out: int) -> None:
        self._out, self._alone = out, threading.Lock()

    def write(self, line: bytes) -> None:
        with self._alone:
            while line:
                line = line[os.write(self._out, line) :]


class Door:
    """Opened for one listener of one name, at the place of the first registration."""

    def __init__(self, down: Downward, place: str, listen: Callable[[str], socket.socket]) -> None:
        self._down, self._place, self._listen = down, place, listen
        self._open: socket.socket | None = None
        self._alone = threading.Lock()

    def open(self, message: Message) -> None:
        """A former one that nobody came to is closed."""
        with self._alone:
            if self._open is not None:
                self._open.shutdown(socket.SHUT_RDWR)
            self._open = listener = self._listen(self._place)
        about = listener, str(message["name"]), str(message["nonce"])
        threading.Thread(target=self._attend, args=about, daemon=True).start()

    def _attend(self, listener: socket.socket, name: str, nonce: str) -> None:
        """Anything in the bottle may come to it; only who was told the nonce is heard."""
        until = time.monotonic() + _DOOR_SECONDS
        with contextlib.suppress(OSError):
            while (left := until - time.monotonic()) > 0 and not self._visited(listener, left, name, nonce):
                pass
        self._close(listener)

    def _visited(self, listener: socket.socket, seconds: float, name: str, nonce: str) -> bool:
        """Whether the next one who comes brings the listener."""
        listener.settimeout(seconds)
        visitor, _ = listener.accept()
        visitor.settimeout(_VISIT_SECONDS)
        try:
            registration.receive(visitor, nonce, taken=lambda found: self._hand_on(found, name))
        except BottleError:
            return False
        return True

    def _close(self, listener: socket.socket) -> None:
        with self._alone:
            if self._open is listener:
                self._open = None
                with contextlib.suppress(OSError):
                    os.unlink(self._place)
            listener.close()

    def _hand_on(self, found: dict[str, socket.socket], name: str) -> None:
        """Before the bottle hears that it was taken: a policy that needs it follows at once."""
        if set(found) != {name}:
            raise BottleError("another listener than the one announced")
        with found[name] as sock:
            self._down.pass_on(encode("listener", name=name), (sock.fileno(),))


class Lines:
    """`asking`: our end of the gate's line for wishes. What the gate says there goes up as it is, and what is answered
    comes down: with a line, if there is one, in the order of the answers."""

    def __init__(self, asking: socket.socket, up: Upward) -> None:
        self._asking, self._up = asking, up
        self._answers: queue.SimpleQueue[Message] = queue.SimpleQueue()
        for job in (self._ask, self._answer):
            threading.Thread(target=job, daemon=True).start()

    def answered(self, message: Message) -> None:
        self._answers.put(message)

    def _ask(self) -> None:
        with contextlib.suppress(OSError):
            while said := self._asking.recv(_MAX_WISH):
                self._up.write(encode("wish", said=said.decode("latin-1")))

    def _answer(self) -> None:
        while True:
            message = self._answers.get()
            said, name = str(message["said"]).encode("latin-1"), message.get("line")
            line = _expected(str(name)) if name else None
            with contextlib.suppress(OSError):
                socket.send_fds(self._asking, [said], [line.fileno()] if line else [])
            if line:
                line.close()


def _expected(name: str) -> socket.socket | None:
    """The connection of the process that the keeper starts here for the line of this name, which only those two know; None
    if it does not come."""
    with socket.socket(socket.AF_UNIX) as listener, contextlib.suppress(OSError):
        listener.bind(_address(name))
        listener.listen(1)
        listener.settimeout(_LINE_SECONDS)
        return listener.accept()[0]
    return None


def _address(name: str) -> bytes:
    """In this container's network alone, which the bottle does not share."""
    return b"\0claude-bottle-line-" + name.encode()


def carry(name: str) -> None:
    """Be the line of this name: what comes from stdin goes to the gate, what it says to stdout, until it has ended."""
    line = socket.socket(socket.AF_UNIX)
    until = time.monotonic() + _LINE_SECONDS
    while line.connect_ex(_address(name)):
        if time.monotonic() > until:
            return
        time.sleep(0.01)
    threading.Thread(target=_into, args=(line,), daemon=True).start()
    with contextlib.suppress(OSError):
        while data := line.recv(_CHUNK):
            while data:
                data = data[os.write(1, data) :]


def _into(line: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := os.read(0, _CHUNK):
            line.sendall(data)
    with contextlib.suppress(OSError):
        line.shutdown(socket.SHUT_WR)
