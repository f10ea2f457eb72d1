"""The keeper's end of one program in a container it shares no descriptor with: its streams, here as ordinary descriptors.

What the program reads is read from a descriptor of ours, what it writes is written to others, each as fast as the far
side takes it. All of it happens on the wire's thread; a caller only sees a descriptor that becomes readable at the end.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import stat
import struct
import time
from collections.abc import Callable
from typing import Any

from claude_bottle.backend.docker.framing import CHUNK, CLOSED, CREDIT, MESSAGE, WINDOW

# How long what a program wrote may keep its end from being told, where nobody reads it.
LAST_WORDS_SECONDS = 10.0
_KILLED = 137
# What a pipe that is ready takes without making us wait, where it can not be asked for that.
_SURE = 4096

Send = Callable[[int, int, bytes], None]


class Channel:
    """`stdio` are descriptors of the caller's: copies are made. `done` is readable once the program has ended."""

    def __init__(self, number: int, send: Send, stdio: tuple[int, ...]) -> None:
        self.number, self._send = number, send
        self.terminal = len(stdio) == 2
        self.source, self._credit = os.dup(stdio[0]), WINDOW
        self.sinks = {stream: Sink(fd) for stream, fd in enumerate(stdio) if stream}
        self.done = os.eventfd(0, os.EFD_CLOEXEC)
        self.born: dict[str, Any] = {}
        self.code: int | None = None
        self._drained, self.deadline, self.told = False, 0.0, False

    # What arrives

    def arrived(self, kind: int, content: bytes) -> None:
        if kind == MESSAGE:
            self._heard(json.loads(content))
        elif kind == CREDIT:
            self._credit += struct.unpack("<I", content)[0]
        elif kind == CLOSED:
            self.end_source()
        elif kind in self.sinks:
            self.sinks[kind].feed(content)
            self.pour(kind)

    def _heard(self, said: dict[str, Any]) -> None:
        if said.get("op") == "exit":
            self.code, self.deadline = int(said["code"]) & 0xFF, time.monotonic() + LAST_WORDS_SECONDS
        elif said.get("op") == "drained":
            self._drained = True
        elif not self.born:
            self.born = said

    def gone(self) -> None:
        """The container has ended, and it with it."""
        if self.code is None:
            self.code, self.deadline = _KILLED, time.monotonic() + LAST_WORDS_SECONDS
        self.born = self.born or {"op": "failed", "why": "it is gone"}
        self._drained = True

    # What is moved

    def watched(self) -> dict[int, int]:
        """The descriptors to look at, and for what. One that is written to is also looked at for its reader's end."""
        found = {sink.fd: select.POLLOUT if sink.queue else 0 for sink in self.sinks.values() if sink.fd >= 0}
        # Without room there, only a terminal is looked at: for its hang-up. A pipe that has ended would wake us for ever.
        if self.source >= 0 and (self._credit > 0 or self.terminal):
            found[self.source] = select.POLLIN if self._credit > 0 else 0
        return found

    def ready(self, fd: int, events: int) -> None:
        if fd == self.source and self._credit > 0:
            self._read()
        elif fd == self.source and events & select.POLLHUP:
            self._input_ended()
        for stream, sink in self.sinks.items():
            if fd == sink.fd and events:
                if events & select.POLLERR or (events & select.POLLHUP and not self.terminal):
                    self._end_sink(stream)
                else:
                    self.pour(stream)

    def _read(self) -> None:
        try:
            data = os.read(self.source, min(CHUNK, self._credit))
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if data:
            self._credit -= len(data)
            self._send(0, self.number, data)
        else:
            self._input_ended()

    def _input_ended(self) -> None:
        self.end_source()
        if self.terminal:
            self._send(CLOSED + 1, self.number, b"")  # its master is closed here: hang up there
        else:
            self._send(0, self.number, b"")

    def pour(self, stream: int) -> None:
        sink = self.sinks[stream]
        taken = sink.pour()
        if taken < 0:
            self._end_sink(stream)
        elif taken:
            self._send(CREDIT + stream, self.number, struct.pack("<I", taken))

    def end_source(self) -> None:
        if self.source >= 0:
            os.close(self.source)
            self.source = -1

    def _end_sink(self, stream: int) -> None:
        """Nobody reads it any more."""
        self.sinks[stream].close()
        self._send(CLOSED + stream, self.number, b"")

    # Its end

    @property
    def over(self) -> bool:
        """Whether it has ended and whoever reads what it wrote has it."""
        if self.code is None:
            return False
        written = all(not sink.queue for sink in self.sinks.values())
        return (self._drained and written) or time.monotonic() >= self.deadline

    @property
    def released(self) -> bool:
        """Whether nothing can come any more."""
        return self.over and all(sink.fd < 0 for sink in self.sinks.values())

    def close(self) -> None:
        self.end_source()
        for sink in self.sinks.values():
            sink.close()


class Sink:
    """Writes to one descriptor without ever waiting; -1 once nobody reads it."""

    def __init__(self, fd: int) -> None:
        self.fd, self.queue, self._ended = reopened(fd), bytearray(), False
        self._most = CHUNK if not os.get_blocking(self.fd) else _SURE

    def feed(self, content: bytes) -> None:
        if self.fd >= 0:
            self.queue += content
        self._ended = self._ended or not content

    def pour(self) -> int:
        """How many bytes were taken; -1 when there is nobody to take any."""
        taken = 0
        try:
            while self.queue and self.fd >= 0:
                size = os.write(self.fd, self.queue[: self._most])
                del self.queue[:size]
                taken += size
                if self._most == _SURE:
                    break
        except BlockingIOError:
            pass
        except OSError:
            return -1
        if self._ended and not self.queue:
            self.close()
        return taken

    def close(self) -> None:
        if self.fd >= 0:
            os.close(self.fd)
        self.fd, self.queue = -1, bytearray()


def reopened(fd: int) -> int:
    """The same pipe or terminal as a description of our own, which may be made non-blocking without changing its
    owner's; a copy where that cannot be."""
    kind = os.fstat(fd).st_mode
    if stat.S_ISSOCK(kind):
        copy = os.dup(fd)
        os.set_blocking(copy, False)  # only our own terminals' ends are sockets
        return copy
    if stat.S_ISFIFO(kind) or stat.S_ISCHR(kind):
        with contextlib.suppress(OSError):
            return os.open(f"/proc/self/fd/{fd}", os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    return os.dup(fd)
