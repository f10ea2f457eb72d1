"""Programs without a terminal, seen from the CLI: stdin, stdout, stderr and signals, as if they ran right here.

`relay` carries the streams of an `exec` over the control connection; `pump` moves those of `run`, whose pipes the CLI
holds itself, so that no byte of it goes through the keeper. Where our own stdout or stderr is a terminal, what the
bottle writes is filtered; into a file or a pipe it goes as it is.
"""

from __future__ import annotations

import os
import select
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING

from claude_bottle.keeper import frames
from claude_bottle.keeper.client import ENDED, LOST, Outcome, lost, read
from claude_bottle.keeper.filter import TerminalFilter

if TYPE_CHECKING:
    from claude_bottle.keeper.client import Control
    from claude_bottle.keeper.order import Pipes

Taker = Callable[[bytes], object]
_CHUNK = 64 << 10
_PASSED_ON = (signal.SIGINT, signal.SIGTERM, signal.SIGQUIT)


class Signals:
    """From `begin` on, signals to us go to the program instead: once it is known how to reach it (`to`), and until that is
    over. The second SIGINT is ours again."""

    def __init__(self) -> None:
        self._control: Control | None = None
        self._former: dict[int, object] = {}
        self._sending = False
        self._waiting: list[int] = []

    def begin(self) -> None:
        for number in _PASSED_ON:
            if number not in self._former:
                self._former[number] = signal.signal(number, self._pass_on)

    def end(self) -> None:
        while self._former:
            signal.signal(*self._former.popitem())  # type: ignore[arg-type]

    @contextmanager
    def to(self, control: Control) -> Iterator[Signals]:
        try:
            self.begin()
            self._control = control
            self._catch_up(control)
            yield self
        finally:
            self.end()

    def send_frame(self, control: Control, frame: bytes) -> None:
        """One that may take long: a signal that comes meanwhile is told after it, not in the middle of it."""
        self._sending = True
        try:
            control.send_frame(frame)
        finally:
            self._sending = False
        self._catch_up(control)

    def _pass_on(self, number: int, _frame: FrameType | None) -> None:
        if self._control is None or self._sending:
            self._waiting.append(number)
        else:
            _tell(self._control, number)
        if number == signal.SIGINT:
            signal.signal(number, signal.default_int_handler)

    def _catch_up(self, control: Control) -> None:
        while self._waiting:
            _tell(control, self._waiting.pop(0))


def _tell(control: Control, number: int) -> None:
    control.send({"op": "signal", "sig": number})


class _Sink:
    """One of our own outputs, or whoever takes it in its place. `open` is False once nobody reads it any more."""

    def __init__(self, fd: int, taker: Taker | None = None) -> None:
        self._fd, self._taker = fd, taker
        self._filter = TerminalFilter() if taker is None and os.isatty(fd) else None
        self.open = True

    def write(self, data: bytes) -> None:
        if self._taker is not None:
            self._taker(data)
            return
        shown = self._filter.feed(data) if self._filter else data
        try:
            while shown and self.open:
                shown = shown[os.write(self._fd, shown) :]
        except OSError:
            self.open = False


def relay(control: Control, stdio: tuple[int, int, int]) -> int:
    """Carry an `exec` until its end; its exit code. BottleError when it could not start or the keeper is lost."""
    sinks = {frames.OUTPUT: _Sink(stdio[1]), frames.ERRORS: _Sink(stdio[2])}
    room = 0  # nothing is sent before the program has started
    reading = True
    with Signals().to(control) as signals:
        while True:
            watched = [control.fileno(), stdio[0]] if reading and room else [control.fileno()]
            ready = [control.fileno()] if control.ready(0) else select.select(watched, [], [])[0]
            if stdio[0] in ready:
                data = os.read(stdio[0], min(room, frames.CHUNK))
                room -= len(data)
                reading = bool(data)
                signals.send_frame(control, frames.encode(frames.INPUT, data))
            if control.fileno() not in ready:
                continue
            received = control.receive()
            if received is None:
                raise lost(control.identity)
            for kind, payload in received:
                if kind in sinks:
                    sinks[kind].write(payload)
                elif kind == frames.JSON:
                    message = read(payload)
                    if message["op"] == "exited":
                        return int(str(message["code"]))
                    room += frames.INPUT_WINDOW if message["op"] == "started" else int(str(message.get("bytes", 0)))


def pump(
    control: Control,
    pipes: Pipes,
    stdio: tuple[int, int, int] = (0, 1, 2),
    takers: tuple[Taker | None, Taker | None] = (None, None),
    signals: Signals | None = None,
) -> Outcome:
    """Move the bytes of a `run` until its agent has ended and everything it wrote is out. `control` is the connection
    the launch left; call its `settled` afterwards. `takers` get stdout and stderr in place of our own. `signals`: those
    that may have come already."""
    with (signals or Signals()).to(control):
        return _Pump(control, pipes, stdio, takers).run()


class _Pump:
    def __init__(
        self, control: Control, pipes: Pipes, stdio: tuple[int, int, int], takers: tuple[Taker | None, Taker | None]
    ) -> None:
        self._control, self._stdin = control, stdio[0]
        self._to_agent, out, err = pipes.operator
        self._sinks = {out: (1, _Sink(stdio[1], takers[0])), err: (2, _Sink(stdio[2], takers[1]))}
        self._pending = b""
        self._outcome: Outcome | None = None

    def run(self) -> Outcome:
        os.set_blocking(self._to_agent, False)
        control_done = False
        self._control.send({"op": "wait"})
        while not control_done or self._sinks:
            control_done = self._step(control_done)
            if control_done and not select.select(list(self._sinks), [], [], 0)[0]:
                break  # the bottle is gone: what has not been written by now never will be
        self._close_stdin()
        return self._outcome or Outcome(LOST)

    def _step(self, control_done: bool) -> bool:
        sources = [*self._sinks]
        if not control_done:
            sources.append(self._control.fileno())
        if self._to_agent >= 0 and not self._pending:
            sources.append(self._stdin)
        sinks = [self._to_agent] if self._to_agent >= 0 and self._pending else []
        if not control_done and self._control.ready(0):
            ready, writable = [self._control.fileno()], list[int]()
        else:
            ready, writable, _ = select.select(sources, sinks, [])
        for fd in [fd for fd in self._sinks if fd in ready]:
            self._copy(fd)
        if self._stdin in ready and self._to_agent >= 0 and not self._pending:
            self._read_stdin()
        if writable:
            self._write_stdin()
        return control_done or (self._control.fileno() in ready and self._hear())

    def _hear(self) -> bool:
        """True when the keeper has nothing more to say before the bottle is gone."""
        received = self._control.receive()
        if received is None:
            return True
        for index, (kind, payload) in enumerate(received):
            message = read(payload) if kind == frames.JSON else {}
            if message.get("op") == "ended":
                self._outcome = Outcome(ENDED, int(str(message["code"])))
                self._close_stdin()
            elif message.get("op") == "settled":
                self._control.put_back(received[index:])
                return True
        return False

    def _copy(self, fd: int) -> None:
        stream, sink = self._sinks[fd]
        data = os.read(fd, _CHUNK)
        if data:
            sink.write(data)
        if not data or not sink.open:
            # Nobody reads us any more: nobody reads the agent either, and it shall know.
            del self._sinks[fd]
            os.close(fd)
            if data:
                self._control.send({"op": "closed", "stream": stream})

    def _read_stdin(self) -> None:
        try:
            self._pending = os.read(self._stdin, _CHUNK)
        except OSError:
            self._pending = b""
        if self._pending:
            self._write_stdin()
        else:
            self._close_stdin()

    def _write_stdin(self) -> None:
        try:
            self._pending = self._pending[os.write(self._to_agent, self._pending) :]
        except BlockingIOError:
            pass
        except OSError:
            self._close_stdin()

    def _close_stdin(self) -> None:
        self._pending = b""
        if self._to_agent >= 0:
            os.close(self._to_agent)
            self._to_agent = -1
