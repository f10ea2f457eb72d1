"""The keeper's end of a gate that runs elsewhere, behind a command of its backend's.

The forked child becomes that command, with the control channel for stdin and stdout; everything the keeper does with a
gate stays as it is. The configuration, secrets included, goes down as the first line. Closing the channel ends the gate
there; where the command ends in any other way, the backend is asked to make sure.
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

from claude_bottle.errors import BottleError
from claude_bottle.keeper import daemon
from claude_bottle.keeper.gate_link import GateLink
from claude_bottle.redact import printable

if TYPE_CHECKING:
    from claude_bottle.backend.base import GateCommand
    from claude_bottle.gate.config import GateConfig
    from claude_bottle.keeper.order import Serve

# For the command to see that its stdin has ended, and the gate's end after that.
_LEAVE_SECONDS = 15.0
_SAID_LIMIT = 4096


class GateElsewhere(GateLink):
    """`make_sure` is told when the gate must not run any more and may still do."""

    def __init__(self, config: GateConfig, command: GateCommand, make_sure: Callable[[], None]) -> None:
        self._command, self._make_sure = command, make_sure
        self._errors = os.memfd_create("gate")
        super().__init__(config)
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

    def _judges(self, config: GateConfig) -> tuple[None, None]:
        """A judge's socket cannot be passed to another machine's container."""
        return None, None

    def last_words(self) -> str:
        """The last line of what the command complained of."""
        lines = os.pread(self._errors, _SAID_LIMIT, 0).decode(errors="replace").strip().splitlines()
        return printable(lines[-1], width=500) if lines else ""

    def tell(self, op: str, **data: object) -> None:
        self._told.join()
        super().tell(op, **data)

    def give(self, op: str, sock: socket.socket, **data: object) -> None:
        raise BottleError("the gate cannot be given a listener", why="it runs elsewhere",
                          do="name the port in the manifest, and start again")  # fmt: skip

    def kill(self) -> None:
        super().kill()
        self._end_there()

    def end(self) -> None:
        if self.pid:
            with contextlib.suppress(OSError):
                self.channel.shutdown(socket.SHUT_RDWR)  # whoever still writes to it stops
            self._told.join()
        super().end()

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
