"""The keeper's end of a gate that runs elsewhere, behind a command of its backend's.

The forked child becomes that command, with the control channel for stdin and stdout; everything the keeper does with a
gate stays as it is. The configuration, secrets included, goes down as the first line. What a gate here would be given as a
descriptor is brought to it there: a listener by the bottle, a line to a judge by one more command of its backend's. Closing
the channel ends the gate; where the command ends in any other way, the backend is asked to make sure.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, NoReturn

from claude_bottle import proc
from claude_bottle.errors import BottleError
from claude_bottle.keeper import daemon
from claude_bottle.keeper.gate_link import GateLink, Message
from claude_bottle.keeper.loop import READ
from claude_bottle.redact import printable
from claude_bottle.values import replace

if TYPE_CHECKING:
    from claude_bottle.backend.base import Bottle, GateCommand
    from claude_bottle.gate.config import GateConfig
    from claude_bottle.keeper.loop import Loop
    from claude_bottle.keeper.order import Serve

# For the command to see that its stdin has ended, and the gate's end after that.
_LEAVE_SECONDS = 15.0
_SAID_LIMIT, _MAX_WISH = 4096, 4096


class GateElsewhere(GateLink):
    """`make_sure` is told when the gate must not run any more and may still do."""

    def __init__(self, config: GateConfig, command: GateCommand, make_sure: Callable[[], None]) -> None:
        self._command, self._make_sure = command, make_sure
        self._errors = os.memfd_create("gate")
        self._line: socket.socket | None = None
        self._loop: Loop | None = None
        self._lines: list[proc.Popen[bytes]] = []
        super().__init__(config)
        if self._line:
            config = replace(config, judges=0)
        # It reads once it is up; nobody waits for that, and what boots meanwhile does not either.
        self._told = threading.Thread(target=self._configure, args=(config.to_wire(),), daemon=True)
        self._told.start()

    def become(
        self, channel: socket.socket, registration: socket.socket, config: GateConfig, serve: Serve | None
    ) -> NoReturn:
        try:
            signal.set_wakeup_fd(-1)
            for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
                signal.signal(number, signal.SIG_DFL)
            for place, descriptor in ((2, self._errors), (0, channel.fileno()), (1, channel.fileno())):
                os.dup2(descriptor, place)
            daemon.close_all_but([])
            os.execvpe(self._command.argv[0], self._command.argv, dict(self._command.env))
        except BaseException as problem:
            os.write(2, f"{self._command.argv[0]}: {type(problem).__name__}\n".encode())
        finally:
            os._exit(127)

    def _judges(self, config: GateConfig) -> tuple[socket.socket | None, socket.socket | None]:
        """The gate's end stays here, and what passes is carried."""
        ours, self._line = super()._judges(config)
        return ours, None

    def attend(self, loop: Loop) -> None:
        if self._line:
            self._loop = loop
            loop.watch(self._line.fileno(), READ, lambda _ready: self._bring())

    def messages(self) -> list[Message]:
        return [message for message in super().messages() if not self._wished(message)]

    def _wished(self, message: Message) -> bool:
        """Whether this is for whoever works for the gate, who is told. One who does not listen is as good as gone."""
        if message["op"] != "wish":
            return False
        with contextlib.suppress(OSError, UnicodeError):
            if self._line:
                self._line.send(str(message.get("said")).encode("latin-1")[:_MAX_WISH], socket.MSG_DONTWAIT)
        return True

    def _bring(self) -> None:
        """An answer, and the line that comes with it, if one does: a command of the backend's has that for its stdio."""
        if self._line is None:
            return
        try:
            said, descriptors, _, _ = socket.recv_fds(self._line, _MAX_WISH, 4, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return
        name = os.urandom(16).hex() if descriptors else None
        if said:
            self.tell("answer", said=said.decode("latin-1"), line=name)
        elif self._loop:
            self._loop.unwatch(self._line.fileno())
        self._lines = [client for client in self._lines if client.poll() is None]
        try:
            if name:
                self._lines.append(proc.popen(
                    [*self._command.line, name], env=dict(self._command.env), stdin=descriptors[0], stdout=descriptors[0],
                    stderr=proc.DEVNULL, start_new_session=True, preexec_fn=daemon.die_with_parent,
                ))  # fmt: skip
        except OSError:
            pass  # the gate waits for it in vain, and refuses what it wanted it for
        finally:
            for descriptor in descriptors:
                os.close(descriptor)

    def open_port(self, bottle: Bottle, port: int) -> None:
        nonce = os.urandom(16).hex()
        self.tell("door", name=f"port-{port}", nonce=nonce)
        bottle.hand_port(port, nonce)

    def last_words(self) -> str:
        """The last line of what the command complained of."""
        lines = os.pread(self._errors, _SAID_LIMIT, 0).decode(errors="replace").strip().splitlines()
        return printable(lines[-1], width=500) if lines else ""

    def tell(self, op: str, **data: object) -> None:
        self._told.join()
        super().tell(op, **data)

    def kill(self) -> None:
        super().kill()
        self._end_there()

    def end(self) -> None:
        if self.pid:
            with contextlib.suppress(OSError):
                self.channel.shutdown(socket.SHUT_RDWR)  # whoever still writes to it stops
            self._told.join()
        self._end_lines()
        super().end()

    def _end_lines(self) -> None:
        if self._line:
            if self._loop:
                self._loop.unwatch(self._line.fileno())
            self._line.close()
            self._line = None
        for client in self._lines:
            client.kill()
            client.wait()
        self._lines.clear()

    def bury(self) -> None:
        process = os.pidfd_open(self.pid)
        try:
            if not select.select([process], [], [], _LEAVE_SECONDS)[0]:
                super().kill()
            _, status = os.waitpid(self.pid, 0)
        finally:
            os.close(process)
            os.close(self._errors)
        if not os.WIFEXITED(status) or os.WEXITSTATUS(status) >= 125:
            self._end_there()

    def _end_there(self) -> None:
        """As well as it can be done: where it cannot, the settlement removes what is left, or says so."""
        with contextlib.suppress(BottleError):
            self._make_sure()

    def _configure(self, line: bytes) -> None:
        try:
            self.channel.sendall(line)
        except OSError:
            pass  # it is gone, which is noticed by its silence
