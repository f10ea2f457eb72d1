"""Programs' bytes over a container's own stdin and stdout: the serving part of a first process that speaks so.

Beside init.py in the container, standalone like it; nothing here blocks, so one program that does not read, or that
nobody listens to, holds up no other. Touches the programs it starts and this process's stdio, nothing else.
"""

from __future__ import annotations

import fcntl
import json
import os
import select
import socket
import struct
import termios

if __package__:
    from claude_bottle.backend.docker import init
    from claude_bottle.backend.docker.framing import CHUNK, CLOSED, CREDIT, MESSAGE, WINDOW, Frames, frame
else:  # in the container
    import init  # type: ignore[import-not-found, no-redef]
    from framing import CHUNK, CLOSED, CREDIT, MESSAGE, WINDOW, Frames, frame  # type: ignore[import-not-found, no-redef]

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, NoReturn

    Message = dict[str, Any]


class Program:
    """One program's channel. `sources` are what it writes to, by stream; `sink` is what it reads from; -1 once closed."""

    def __init__(self, number: int, status: socket.socket) -> None:
        self.number, self.status = number, status
        self.sources: dict[int, int] = {}
        self.credit = {1: WINDOW, 2: WINDOW}
        self.sink, self.queue, self.ended = -1, bytearray(), False
        self.master, self.over = -1, False
        self.unread: set[int] = set()  # what may still hold something it wrote before its end


class Stdin:
    def fileno(self) -> int:
        return 0


class Relay(init.Init):
    """Init's serving part, with the keeper's side of it beside it."""

    def __init__(self) -> None:
        super().__init__(Stdin())  # type: ignore[arg-type]  # all that it does with it is to watch it
        self.frames, self.out = Frames(), bytearray()
        self.programs: dict[int, Program] = {}
        self.ends: dict[int, Callable[[int], None]] = {}
        for fd in (0, 1):
            os.set_blocking(fd, False)

    def serve(self) -> NoReturn:
        while True:
            for fd, ready in self.poll.poll():
                if fd == 0:
                    self.read()
                elif fd == self.signals:
                    self.signalled()
                elif fd in self.ends:
                    self.ends[fd](ready)
                else:
                    try:
                        self.obey(fd)
                    except BlockingIOError:
                        pass  # its number was another's when it was looked at
            self.flush()

    def read(self) -> None:
        data = os.read(0, CHUNK)
        if not data:
            os._exit(0)  # the keeper is gone, and with this process everything is
        for kind, channel, content in self.frames.feed(data):
            program = self.programs.get(channel)
            said = json.loads(content) if kind == MESSAGE else {}
            if "argv" in said:
                self.start(channel, said)
            elif program is None:
                pass  # it has ended meanwhile
            elif kind == MESSAGE:
                self.instruct(program, said)
            elif kind == 0:
                self.feed(program, content)
            elif kind in (CREDIT + 1, CREDIT + 2):
                program.credit[kind - CREDIT] += struct.unpack("<I", content)[0]
                self.watch(program)
            elif kind in (CLOSED + 1, CLOSED + 2):
                self.end_source(program, kind - CLOSED)

    def send(self, kind: int, channel: int, content: bytes = b"") -> None:
        self.out += frame(kind, channel, content)

    def tell(self, channel: int, **message: Any) -> None:
        self.send(MESSAGE, channel, json.dumps(message).encode())

    def flush(self) -> None:
        """Write what there is; the rest when there is room. Its size is bounded by the windows."""
        try:
            while self.out:
                del self.out[: os.write(1, self.out[:CHUNK])]
        except BlockingIOError:
            self.ends[1] = lambda ready: None
            self.poll.register(1, select.POLLOUT)
            return
        self.forget(1)

    def start(self, number: int, command: Message) -> None:
        """A program, with pipes or a terminal of this container for its stdio."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        program, stdio = Program(number, ours), []
        ours.setblocking(False)
        theirs.setblocking(False)
        try:
            stdio = self.terminal(program, command) if command["tty"] else self.pipes(program)
            if self.closed:
                raise OSError(0, "it is being taken down")
            pid = os.fork() or self.become(command, stdio, theirs)
        except OSError as failure:
            self.tell(number, op="failed", why=init.describe(failure))
            for fd in [*program.sources.values(), program.sink]:
                close(fd)
            ours.close()
            theirs.close()
            return
        finally:
            for fd in set(stdio):
                os.close(fd)
        self.programs[number], self.children[pid] = program, theirs
        self.poll.register(theirs.fileno(), select.POLLIN)
        self.ends[ours.fileno()] = lambda ready: self.heard(program, pid)
        self.poll.register(ours.fileno(), select.POLLIN)
        for fd in [*program.sources.values(), program.sink]:
            os.set_blocking(fd, False)
        self.watch(program)

    def become(self, command: Message, stdio: list[int], status: socket.socket) -> NoReturn:
        """The child's side of a fork."""
        init.execute(command, stdio, status)

    def pipes(self, program: Program) -> list[int]:
        (read0, program.sink), (program.sources[1], write1), (program.sources[2], write2) = os.pipe(), os.pipe(), os.pipe()
        return [read0, write1, write2]

    def terminal(self, program: Program, command: Message) -> list[int]:
        fds: list[int] = []
        program.master, slave = self.do_open_pty({}, fds)
        program.sources[1], program.sink = program.master, os.dup(program.master)
        resize(program.master, command)
        return [slave, slave, slave]

    def heard(self, program: Program, pid: int) -> None:
        """What init says of it: that it was born or could not be, and its end."""
        try:
            data = program.status.recv(4096)
        except BlockingIOError:
            return
        except ConnectionResetError:
            # A signal that came too late was never read at the other end, which is told before what was said (unix(7)).
            data = program.status.recv(4096)
        said = json.loads(data) if data else {"op": "gone"}
        if said["op"] == "born":
            self.tell(program.number, op="born", pid=pid)
            return
        self.forget(program.status.fileno())
        program.status.close()
        self.tell(program.number, **said)
        program.over, program.unread = True, {0, *program.sources}
        for stream in list(program.sources):
            self.take(program, stream)
        self.emptied(program, 0)
        self.retire(program)

    def watch(self, program: Program) -> None:
        """Look at its outputs as far as the keeper takes what they hold, at its input while something waits for it."""
        for stream, fd in program.sources.items():
            if program.credit[stream] > 0:
                self.ends[fd] = lambda ready, stream=stream: self.take(program, stream)  # type: ignore[misc]
                self.poll.register(fd, select.POLLIN)
            else:
                self.forget(fd)
        if program.sink >= 0 and program.queue:
            self.ends[program.sink] = lambda ready: self.pour(program)
            self.poll.register(program.sink, select.POLLOUT)
        elif program.sink >= 0:
            self.forget(program.sink)

    def take(self, program: Program, stream: int) -> None:
        """Send what it wrote, as much as the keeper has room for."""
        fd = program.sources.get(stream, -1)
        try:
            while fd >= 0 and program.credit[stream] > 0:
                data = os.read(fd, min(CHUNK, program.credit[stream]))
                if not data:
                    break
                program.credit[stream] -= len(data)
                self.send(stream, program.number, data)
                if len(self.out) > WINDOW and not program.over:
                    return  # others shall have their turn
            else:
                self.watch(program)
                return
        except BlockingIOError:
            self.emptied(program, stream)
            return
        except OSError:
            pass  # EIO: nobody has the terminal open any more
        if fd >= 0:
            self.send(stream, program.number)
            self.end_source(program, stream)

    def end_source(self, program: Program, stream: int) -> None:
        fd = program.sources.pop(stream, -1)
        self.forget(fd)
        close(fd)
        if program.master >= 0:
            self.end_sink(program)  # both were one terminal: this hangs up
            program.master = -1
        self.emptied(program, stream)
        self.retire(program)

    def retire(self, program: Program) -> None:
        """It has ended and nobody holds its streams any more."""
        if program.over and not program.sources:
            self.programs.pop(program.number, program)
            self.end_sink(program)

    def emptied(self, program: Program, stream: int) -> None:
        """Nothing that it wrote before its end is left in this stream."""
        if stream in program.unread:
            program.unread.discard(stream)
            if not program.unread:
                self.tell(program.number, op="drained")

    def feed(self, program: Program, content: bytes) -> None:
        if program.sink < 0:
            return
        program.queue += content
        program.ended = program.ended or not content
        self.pour(program)

    def pour(self, program: Program) -> None:
        """Give it what waits for it, and the keeper credit for that."""
        try:
            while program.queue:
                size = os.write(program.sink, program.queue[:CHUNK])
                del program.queue[:size]
                self.send(CREDIT, program.number, struct.pack("<I", size))
        except BlockingIOError:
            pass
        except OSError:
            self.send(CLOSED, program.number)
            self.end_sink(program)
        if program.ended and not program.queue:
            self.end_sink(program)
        self.watch(program)

    def end_sink(self, program: Program) -> None:
        self.forget(program.sink)
        close(program.sink)
        program.sink = -1

    def instruct(self, program: Program, said: Message) -> None:
        if said.get("op") == "resize":
            resize(program.master, said)
        elif not program.over:
            # A signal, for init, which knows whether its number is still its own.
            try:
                program.status.send(json.dumps(said).encode())
            except OSError:
                pass  # it has ended, which is about to be heard

    def forget(self, fd: int) -> None:
        if fd in self.ends:
            del self.ends[fd]
            self.poll.unregister(fd)


def close(fd: int) -> None:
    if fd >= 0:
        os.close(fd)


def resize(master: int, size: Message) -> None:
    if master >= 0:
        fcntl.ioctl(master, termios.TIOCSWINSZ, struct.pack("HHHH", size["rows"], size["cols"], 0, 0))
