"""Programs an operator runs in a bottle beside the agent (`exec`): one program, one connection.

With a terminal it gets a pty of its own, filtered like the agent's; without, its stdin, stdout and stderr are pipes
carried as separate streams. When the operator goes, the program is hung up on, so that nothing runs unseen; when the
program ends, the rest of its output and its exit code are delivered.
"""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

from claude_bottle.errors import BottleError
from claude_bottle.keeper import frames
from claude_bottle.keeper.clients import PASSED_SIGNALS
from claude_bottle.keeper.control import HIGH
from claude_bottle.keeper.filter import TerminalFilter
from claude_bottle.keeper.frames import INPUT_WINDOW
from claude_bottle.keeper.loop import READ, WRITE, watch_exit
from claude_bottle.keeper.pty import Terminal, size

if TYPE_CHECKING:
    from collections.abc import Mapping

    from claude_bottle.backend.base import Bottle, Process
    from claude_bottle.keeper.control import Connection, Message
    from claude_bottle.keeper.loop import Loop

_CHUNK = 64 << 10
# How long a program may take to end once its operator has gone.
HANG_UP_SECONDS = 10.0
MAX_ARGUMENTS, MAX_ARGUMENT_BYTES = 4096, 128 << 10


def argv_of(message: Message) -> list[str]:
    """The command a client asks for. BottleError when it is none."""
    argv = message.get("argv")
    if not isinstance(argv, list) or not 0 < len(argv) <= MAX_ARGUMENTS:
        raise BottleError("no command given")
    if not all(isinstance(word, str) and "\0" not in word for word in argv):
        raise BottleError("a command is made of texts without NUL")
    if sum(len(word) for word in argv) > MAX_ARGUMENT_BYTES:
        raise BottleError("the command is too long")
    return argv


class Running:
    """What both kinds share: the process, its connection, and the end."""

    def __init__(self, loop: Loop, connection: Connection) -> None:
        self._loop, self._connection = loop, connection
        self._process: Process | None = None
        self._watched = -1

    def started(self, process: Process) -> None:
        """The last step: what could not be started holds nothing that the end of its connection would have to let go."""
        self._process = process
        self._connection.on_close.append(lambda _: self._hang_up())
        self._watched = watch_exit(self._loop, process, self.ended)
        self._connection.send({"op": "started"})

    def message(self, message: Message) -> None:
        """`signal` and `resize` of its client."""
        if message.get("op") == "signal" and self._process and message.get("sig") in PASSED_SIGNALS:
            self._process.kill(int(str(message["sig"])))

    def ended(self) -> None:
        """The program has ended (or its bottle has): deliver what is left. Nothing happens the second time."""
        process, self._process = self._process, None
        if process:
            code = process.wait()
            self._rest()
            self._connection.send({"op": "exited", "code": code})
            self._connection.finish()

    def _hang_up(self) -> None:
        if self._process:
            self._process.kill(signal.SIGHUP)
            self._loop.later(HANG_UP_SECONDS, self._end)
        self._release()

    def _end(self) -> None:
        if self._process:
            self._process.kill(signal.SIGKILL)

    def _rest(self) -> None:
        raise NotImplementedError

    def _release(self) -> None:
        raise NotImplementedError


class TerminalExec(Running):
    """With a terminal of its own."""

    def __init__(self, loop: Loop, connection: Connection, bottle: Bottle, message: Message, env: Mapping[str, str]) -> None:
        super().__init__(loop, connection)
        self._filter = TerminalFilter()
        self._terminal = Terminal(loop, bottle.open_pty(), *size(message.get("rows"), message.get("cols")), bottle.resize)
        slave = self._terminal.slave
        try:
            process = bottle.spawn(argv_of(message), env=env, stdio=(slave, slave, slave), controlling_tty=True)
        except BottleError:
            self._terminal.close()
            raise
        connection.on_data = lambda _connection, _kind, data: self._terminal.write(data)
        connection.on_drained = lambda: self._terminal.listen(self._output) if self._process else None
        self.started(process)
        self._terminal.listen(self._output)

    def message(self, message: Message) -> None:
        super().message(message)
        if message.get("op") == "resize":
            self._terminal.resize(*size(message.get("rows"), message.get("cols")))

    def _output(self, data: bytes) -> None:
        shown = self._filter.feed(data)
        if shown:
            self._connection.stream(frames.OUTPUT, shown)
        if self._connection.queued > HIGH:
            self._terminal.listen(None)

    def _rest(self) -> None:
        self._terminal.listen(None)
        self._output(self._terminal.drain())
        self._terminal.close()

    def _release(self) -> None:
        self._terminal.close()


class PipedExec(Running):
    """Without a terminal: three pipes."""

    def __init__(self, loop: Loop, connection: Connection, bottle: Bottle, message: Message, env: Mapping[str, str]) -> None:
        from claude_bottle.keeper.order import Pipes

        super().__init__(loop, connection)
        pipes = Pipes.make()
        try:
            pipes.give_to(bottle.host_uid)
            process = bottle.spawn(argv_of(message), env=env, stdio=pipes.agent)
        except BottleError:
            pipes.close_operator()
            raise
        finally:
            pipes.close_agent()
        for fd in pipes.operator:
            os.set_blocking(fd, False)
        self._stdin, out, err = pipes.operator
        self._outputs = {out: frames.OUTPUT, err: frames.ERRORS}
        self._input = bytearray()
        self._input_ended = False
        connection.on_data = lambda _connection, _kind, data: self._typed(data)
        connection.on_drained = self._listen
        self.started(process)
        self._listen()

    def _listen(self) -> None:
        for fd in self._outputs:
            self._loop.watch(fd, READ, lambda _ready, fd=fd: self._output(fd))  # type: ignore[misc]

    def _output(self, fd: int) -> None:
        try:
            data = os.read(fd, _CHUNK)
        except BlockingIOError:
            return
        if not data:
            self._loop.unwatch(fd)
            del self._outputs[fd]
            os.close(fd)
            return
        self._connection.stream(self._outputs[fd], data)
        if self._connection.queued > HIGH:
            for each in self._outputs:
                self._loop.unwatch(each)

    def _typed(self, data: bytes) -> None:
        """Input is never lost: the client sends only as much beyond what it was told is `taken` as we hold."""
        if len(self._input) + len(data) > INPUT_WINDOW:
            self._connection.fail(BottleError("the client sent more input than it may"))
        elif data:
            self._input += data
            self._feed()
        else:
            self._input_ended = True
            self._feed()

    def _feed(self) -> None:
        if self._stdin < 0:
            return
        try:
            while self._input:
                taken = os.write(self._stdin, self._input[:_CHUNK])
                del self._input[:taken]
                self._connection.send({"op": "taken", "bytes": taken})
        except BlockingIOError:
            self._loop.watch(self._stdin, WRITE, lambda _ready: self._feed())
            return
        except OSError:
            self._input_ended = True
        self._loop.unwatch(self._stdin)
        if self._input_ended:
            os.close(self._stdin)
            self._stdin = -1

    def _rest(self) -> None:
        """What the pipes still hold; a child left behind may keep them open, so no waiting for their end."""
        for fd in list(self._outputs):
            for _ in range(64):
                before = self._connection.queued
                self._output(fd)
                if fd not in self._outputs or self._connection.queued == before:
                    break
        self._release()

    def _release(self) -> None:
        for fd in (*self._outputs, self._stdin):
            if fd >= 0:
                self._loop.unwatch(fd)
                os.close(fd)
        self._outputs, self._stdin = {}, -1
