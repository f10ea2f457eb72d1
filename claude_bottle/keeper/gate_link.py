"""The keeper's end of its gate: fork it, hear it, tell it, end it.

The gate is forked while the keeper is still small and has opened nothing of its own, and is given two sockets: the
control channel, and one end of the registration channel whose other end goes into the bottle. When it dies its
listeners close, so the bottle is offline at once; it is not restarted, because only a new bottle can give a gate
listeners again. The agent is not told, `ls` and the journal say it, and stop and settle work as ever.
"""

from __future__ import annotations

import gc
import os
import select
import signal
import socket
import time
from typing import TYPE_CHECKING, NoReturn

from claude_bottle.errors import BottleError
from claude_bottle.gate import control
from claude_bottle.keeper import daemon
from claude_bottle.values import replace

if TYPE_CHECKING:
    from claude_bottle.backend.base import Bottle
    from claude_bottle.gate.config import GateConfig
    from claude_bottle.keeper.loop import Loop
    from claude_bottle.keeper.order import Serve

Message = dict[str, object]
# Bounds for what hangs; a gate that fails says so or ends, which is noticed at once.
BOOT_SECONDS = 120.0
# For its last events. One that serves takes milliseconds, on a machine that has a moment for it.
_STOP_SECONDS = 15.0
_READS = 16
# For a gate to take what it is told while we stand still.
_DEAF_SECONDS = 3.0


class GateLink:
    """A running gate. `registration` is the bottle's end of that channel; `channel` is for selectors; on `judges` it asks
    for judges of pushes, if it may need any. `up`: it has not ended; `serving`: it has begun to judge."""

    def __init__(self, config: GateConfig, serve: Serve | None = None) -> None:
        self.judges, line = self._judges(config)
        if line:
            config = replace(config, judges=line.fileno())
        self.channel, theirs = socket.socketpair()
        self.registration, gate_end = socket.socketpair()
        self._decoder = control.Decoder()
        self._received: list[Message] = []
        self.up, self.serving = True, False
        gc.freeze()  # what exists now stays shared between the two
        self.pid = os.fork()
        if self.pid == 0:
            self.become(theirs, gate_end, config, serve)
        theirs.close()
        gate_end.close()
        if line:
            line.close()

    def _judges(self, config: GateConfig) -> tuple[socket.socket | None, socket.socket | None]:
        """The two ends of the line on which the gate asks for judges and carriers; none where no rule may need any."""
        if not any(rule.git and (rule.git.push or rule.git.ssh) for rule in config.rules):
            return None, None
        return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)

    def become(
        self, channel: socket.socket, registration: socket.socket, config: GateConfig, serve: Serve | None
    ) -> NoReturn:
        """What the forked child does from now on."""
        _become_gate(channel, registration, config, serve)

    def last_words(self) -> str:
        """What a gate that has ended said outside of its protocol."""
        return ""

    def expect(self, op: str) -> Message:
        """Wait for a message of this kind while the bottle boots; others that come before it are kept for
        `messages`. BottleError when the gate reports a fault, ends, or says nothing for too long."""
        deadline = time.monotonic() + BOOT_SECONDS
        while True:
            for index, message in enumerate(self._received):
                if message["op"] == "fault":
                    said = [str(message[key]) for key in ("what", "why") if message.get(key)]
                    raise BottleError("the gate did not start", why=": ".join(said)[:2000])
                if message["op"] == op:
                    return self._received.pop(index)
            if not select.select([self.channel], [], [], max(0.0, deadline - time.monotonic()))[0]:
                raise BottleError("the gate did not start", why=f"nothing heard for {BOOT_SECONDS:g} s")
            if not self._receive():
                raise BottleError("the gate did not start", why=self.last_words() or f"it ended before {op!r}")

    def messages(self) -> list[Message]:
        """What has arrived, without blocking. Once the gate is gone, `up` is False."""
        self.channel.setblocking(False)
        try:
            for _ in range(_READS):
                if not self._receive():
                    self.up = False
                    break
        except BlockingIOError:
            pass
        received, self._received = self._received, []
        return received

    def tell(self, op: str, **data: object) -> None:
        """Send a message. A gate that is gone or deaf is not an error here: it is noticed by its silence."""
        try:
            self._send(control.encode(op, **data))
        except OSError:
            self.kill()

    def open_port(self, bottle: Bottle, port: int) -> None:
        """One more listener of the bottle's, for this gate. BottleError when it cannot be had."""
        with bottle.open_port(port) as listener:
            self.give("listener", listener, name=f"port-{port}")

    def attend(self, loop: Loop) -> None:
        """Have what the gate wishes for brought to it. Here it reads its own line."""

    def give(self, op: str, sock: socket.socket, **data: object) -> None:
        """As `tell`, with a socket of which the gate gets its own copy (SCM_RIGHTS, unix(7))."""
        try:
            line = control.encode(op, **data)
            self._await_room()
            sent = socket.send_fds(self.channel, [line], [sock.fileno()])
            self._send(line[sent:])
        except OSError:
            self.kill()

    def _send(self, data: bytes) -> None:
        """All of it. What a gate reads at once it takes at once; one that does not read is waited for this once."""
        view = memoryview(data)
        while view:
            try:
                view = view[self.channel.send(view) :]
            except BlockingIOError:
                self._await_room()

    def _await_room(self) -> None:
        if not select.select([], [self.channel], [], _DEAF_SECONDS)[1]:
            raise TimeoutError

    def kill(self) -> None:
        """End it at once, for when it must not go on and does not listen."""
        if self.pid:
            os.kill(self.pid, signal.SIGKILL)

    def finish(self) -> list[Message]:
        """Tell it to end, and return its last messages. One that does not serve yet has nothing to say."""
        if not self.up or not self._ready():
            self.kill()
            return self.messages() if self.up else []
        self.tell("stop")
        self.channel.setblocking(True)
        deadline = time.monotonic() + _STOP_SECONDS
        while select.select([self.channel], [], [], max(0.0, deadline - time.monotonic()))[0] and self._receive():
            pass
        received, self._received = self._received, []
        return received

    def end(self) -> None:
        """Make sure that it is gone, and collect it. May be called again."""
        self.up = False
        self.registration.close()
        self.channel.close()
        if self.judges:
            self.judges.close()
        if self.pid:
            self.bury()
            self.pid = 0

    def bury(self) -> None:
        """End its process, whose channel is closed, and collect it."""
        self.kill()
        os.waitpid(self.pid, 0)

    def _ready(self) -> bool:
        self._received = self.messages()
        return self.serving and self.up

    def _receive(self) -> bool:
        try:
            data = self.channel.recv(1 << 16)
            if data:
                messages = self._decoder.feed(data)
                self.serving = self.serving or any(message["op"] == "ready" for message in messages)
                self._received.extend(messages)
        except control.ControlBroken:
            self.kill()
            data = b""
        except ConnectionError:
            data = b""
        return bool(data)


def _become_gate(channel: socket.socket, registration: socket.socket, config: GateConfig, serve: Serve | None) -> NoReturn:
    """The forked child: nothing of the keeper's but the two sockets, then the gate's main function, then the end."""
    try:
        signal.set_wakeup_fd(-1)
        for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP, signal.SIGPIPE}:
            signal.signal(number, signal.SIG_DFL)
        daemon.close_all_but([channel.fileno(), registration.fileno(), *([config.judges] if config.judges else [])])
        if serve is None:
            from claude_bottle.gate.process import serve as product

            serve = product
        serve(channel, registration, config)
    except BaseException as problem:
        _report(channel, problem)
    finally:
        os._exit(70)


def _report(channel: socket.socket, problem: BaseException) -> None:
    """Say what went wrong. Of an unexpected error only its kind and place: its text might hold a secret."""
    if isinstance(problem, BottleError):
        what = f"{problem.what}: {problem.why}" if problem.why else problem.what
    else:
        frame, place = problem.__traceback__, ""
        while frame:
            place = f"{os.path.basename(frame.tb_frame.f_code.co_filename)}:{frame.tb_lineno}"
            frame = frame.tb_next
        what = f"{type(problem).__name__} at {place}"
    try:
        channel.setblocking(True)
        channel.sendall(control.encode("fault", what=what))
    except OSError:
        pass
