"""The line to a container's first process: its client's stdin and stdout, and the one thread that moves all bytes on it.

Everything a caller wants done is put into a queue and the thread woken; what the caller waits for comes back as an event.
When the client ends, by whatever cause, every program counts as killed. Touches the client's socket and the descriptors
that programs were given.
"""

from __future__ import annotations

import json
import os
import select
import socket
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from claude_bottle.backend.docker.channel import Channel
from claude_bottle.backend.docker.framing import CHUNK, MESSAGE, Frames, frame
from claude_bottle.errors import BottleError


class Wire:
    """`sock` is our end of the client's stdio, owned here. Until `run`, only `say` and `hear` are for the caller."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock, self._frames = sock, Frames()
        self._out, self._jobs = bytearray(), deque[Callable[[], None]]()
        self._channels: dict[int, Channel] = {}
        self._wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._last = 0
        self._running, self.gone = True, False

    # The first moment

    def say(self, message: dict[str, Any]) -> None:
        self._sock.sendall(frame(MESSAGE, 0, json.dumps(message).encode()))

    def pour(self, data: bytes) -> None:
        """What it has been told to expect, as it is. OSError when it does not take it."""
        self._sock.sendall(data)

    def hear(self, seconds: float) -> dict[str, Any]:
        """The first thing it says. BottleError when it says nothing."""
        until = time.monotonic() + seconds
        while select.select([self._sock], [], [], max(0.0, until - time.monotonic()))[0]:
            try:
                data = self._sock.recv(CHUNK)
            except ConnectionResetError:
                continue  # it ended without having read all, which is told before its last words (unix(7))
            try:
                for kind, channel, content in self._frames.feed(data):
                    said = json.loads(content)
                    if (kind, channel) == (MESSAGE, 0) and isinstance(said, dict):
                        return said
            except ValueError:
                raise BottleError("the bottle does not answer", why="its first process talks nonsense") from None
            if not data:
                raise BottleError("the bottle does not answer", why="its first process is gone")
        raise BottleError("the bottle does not answer", why="no answer in time")

    def run(self) -> None:
        """From now on the thread has the socket."""
        self._sock.setblocking(False)
        self._thread = threading.Thread(target=self._move, name="wire", daemon=True)
        self._thread.start()

    # For callers, on any thread

    def start(self, command: dict[str, Any], stdio: tuple[int, ...], seconds: float) -> Channel:
        """A program of `command`, whose streams are `stdio`: three, or two of a terminal. BottleError if it was not
        born."""
        self._last += 1
        channel = Channel(self._last, self._send, stdio)
        begin = frame(MESSAGE, channel.number, json.dumps(command).encode())
        self._do(lambda: self._begin(channel, begin))
        with self._changed:
            heard = self._changed.wait_for(lambda: channel.born or self.gone, seconds)
        if channel.born.get("op") == "born":
            return channel
        self._do(lambda: self._discard(channel))
        raise BottleError(str(channel.born.get("why") or ("it is gone" if heard else "no answer in time"))[:500])

    def instruct(self, channel: Channel, **message: Any) -> None:
        self._do(lambda: self._send(MESSAGE, channel.number, json.dumps(message).encode()))

    def close(self) -> None:
        """Its other end takes this as the end of the bottle. What programs have written already is still moved."""
        try:
            self._sock.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # it is gone already

    def let_go(self) -> None:
        """After the client has ended: stop the thread and close everything."""
        if self._thread and self._wake >= 0:
            self._do(self._stop)
            self._thread.join()
        self._sock.close()
        if self._wake >= 0:
            os.close(self._wake)
            self._wake = -1

    # On the thread

    def _do(self, job: Callable[[], None]) -> None:
        self._jobs.append(job)
        if self._wake >= 0:
            os.eventfd_write(self._wake, 1)

    def _begin(self, channel: Channel, command: bytes) -> None:
        self._channels[channel.number] = channel
        if self.gone:
            channel.gone()
        else:
            self._out += command

    def _discard(self, channel: Channel) -> None:
        """It was never born, or not in time."""
        self._channels.pop(channel.number, None)
        channel.close()
        os.close(channel.done)

    def _send(self, kind: int, channel: int, content: bytes) -> None:
        self._out += frame(kind, channel, content)

    def _stop(self) -> None:
        self._running = False

    def _move(self) -> None:
        try:
            while self._running:
                self._turn()
        finally:
            self._lose()
            for channel in self._channels.values():
                channel.close()
            self._channels.clear()

    def _turn(self) -> None:
        """Wait for whatever can be moved, and move it."""
        poll, held = select.poll(), {}
        for channel in self._channels.values():
            for fd, wanted in channel.watched().items():
                poll.register(fd, wanted)
                held[fd] = channel
        poll.register(self._wake, select.POLLIN)
        if not self.gone:
            poll.register(self._sock, select.POLLIN | (select.POLLOUT if self._out else 0))
        ready = poll.poll(self._patience())
        if any(fd == self._wake for fd, _ in ready):
            # Alone: what is typed after a window got its size must not arrive before it. The rest is ready in the next turn.
            os.eventfd_read(self._wake)
            while self._jobs:
                self._jobs.popleft()()
            ready = []
        for fd, events in ready:
            if fd in held:
                held[fd].ready(fd, events)
            elif events & ~select.POLLOUT:
                self._receive()
        self._flush()
        self._tell()

    def _patience(self) -> float | None:
        """Milliseconds until the end of a program is told although nobody has read what it wrote."""
        waiting = [channel.deadline for channel in self._channels.values() if channel.code is not None and not channel.over]
        return max(0.0, min(waiting) - time.monotonic()) * 1000 + 1 if waiting else None

    def _receive(self) -> None:
        try:
            data = self._sock.recv(CHUNK)
            for kind, number, content in self._frames.feed(data):
                if number in self._channels:
                    self._channels[number].arrived(kind, content)
        except BlockingIOError:
            return
        except Exception:
            data = b""  # it is no line any more, or what comes on it cannot be believed
        if not data:
            self._lose()

    def _lose(self) -> None:
        """The client has ended, or talks nonsense: for us it is the same."""
        self.gone = True
        self.close()
        for channel in self._channels.values():
            channel.gone()
        self._tell()

    def _flush(self) -> None:
        try:
            while self._out and not self.gone:
                del self._out[: self._sock.send(self._out[: 4 * CHUNK])]
        except BlockingIOError:
            pass
        except OSError:
            self._out.clear()  # its end will be seen, too

    def _tell(self) -> None:
        """Whoever waits for a birth or an end."""
        with self._changed:
            for channel in list(self._channels.values()):
                if channel.over and not channel.told:
                    channel.told = True
                    os.eventfd_write(channel.done, 1)
                if channel.released:
                    channel.close()
                    del self._channels[channel.number]
            self._changed.notify_all()
