"""The conversation between the operator's terminal and one program in a bottle, until either side ends it.

A terminal that does not take output must not keep the operator from leaving: output waits in a queue of ours, and
while that is full nothing more is read from the keeper, which slows the agent in turn.
"""

from __future__ import annotations

import os
import select
import signal
from typing import TYPE_CHECKING

from claude_bottle.keeper import frames
from claude_bottle.keeper.client import DETACHED, ENDED, LOST, Outcome, read
from claude_bottle.keeper.detach_key import DetachKey

if TYPE_CHECKING:
    from claude_bottle.keeper.client import Control
    from claude_bottle.keeper.screen import Screen

_INPUT = 16 << 10
# For a terminal to take the next part of the agent's last words.
_REST_SECONDS = 10.0
# Small enough for a terminal that said it can take something.
_WRITE = 4 << 10
_QUEUE = 256 << 10


def interact(control: Control, screen: Screen, last: str) -> Outcome:
    """Until the message `last` (with the exit code), the detach key, a signal to leave, or the end of either side.
    BottleError as the keeper says."""
    return _Interaction(control, screen, last).run()


class _Interaction:
    def __init__(self, control: Control, screen: Screen, last: str) -> None:
        self._control, self._screen, self._last = control, screen, last
        self._key = DetachKey()
        self._output = bytearray()
        self._outcome: Outcome | None = None

    def run(self) -> Outcome:
        while self._outcome is None:
            self._step()
        if self._outcome.how != DETACHED:
            self._write_rest()
        return self._outcome

    def _step(self) -> None:
        screen, room = self._screen, len(self._output) < _QUEUE
        poll = select.poll()
        poll.register(screen.wakeup, select.POLLIN)
        poll.register(screen.fd_in, select.POLLIN)
        if self._output:
            poll.register(screen.fd_out, select.POLLOUT | (select.POLLIN if screen.fd_out == screen.fd_in else 0))
        if room:
            poll.register(self._control.fileno(), select.POLLIN)
        waiting = 0 if room and self._control.ready(0) else None
        ready = dict(poll.poll(waiting))
        if ready.get(screen.wakeup) or ready.get(screen.fd_in):
            self._signalled()  # also where it came after that look: what was typed after it must not overtake it
        if ready.get(screen.fd_in, 0) & ~select.POLLOUT:
            self._typed()
        if ready.get(screen.fd_out, 0) & ~select.POLLIN and self._output:
            self._write()
        if room and (waiting == 0 or ready.get(self._control.fileno())):
            self._received()

    def _signalled(self) -> None:
        try:
            numbers = os.read(self._screen.wakeup, 64)
        except BlockingIOError:
            return
        if any(number != signal.SIGWINCH for number in numbers):
            self._end(Outcome(DETACHED))
        elif numbers:
            rows, cols = self._screen.size()
            self._control.send({"op": "resize", "rows": rows, "cols": cols})

    def _typed(self) -> None:
        try:
            data = os.read(self._screen.fd_in, _INPUT)
        except OSError:
            data = b""
        if not data:  # the terminal was closed
            self._end(Outcome(DETACHED))
            return
        mine, leave = self._key.feed(data)
        if mine:
            self._control.send_frame(frames.encode(frames.INPUT, mine))
        if leave:
            self._end(Outcome(DETACHED))

    def _received(self) -> None:
        received = self._control.receive()
        if received is None:
            self._end(Outcome(LOST))
            return
        for index, (kind, payload) in enumerate(received):
            if kind == frames.OUTPUT:
                self._output += self._screen.shown(payload)
            elif kind == frames.JSON:
                message = read(payload)
                if message.get("op") == "waiting":
                    self._output += self._screen.title.show(message.get("title"), message.get("bell"))
                elif message.get("op") == self._last:
                    self._control.put_back(received[index + 1 :])
                    self._end(Outcome(ENDED, int(str(message["code"]))))
                    return

    def _end(self, outcome: Outcome) -> None:
        self._outcome = self._outcome or outcome

    def _write(self) -> None:
        try:
            del self._output[: os.write(self._screen.fd_out, self._output[:_WRITE])]
        except OSError:
            self._end(Outcome(DETACHED))

    def _write_rest(self) -> None:
        """The last words of the agent, as long as the terminal takes them."""
        while self._output:
            if not select.select([], [self._screen.fd_out], [], _REST_SECONDS)[1]:
                return
            try:
                del self._output[: os.write(self._screen.fd_out, self._output[:_WRITE])]
            except OSError:
                return
