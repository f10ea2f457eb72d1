"""The agent's terminal as several operators may share it: output to all of them, input from any of them.

What the agent writes goes through the filter once; only that is remembered, recorded and sent. A client that does not
read makes the agent wait, as a slow terminal would, but only for so long: then the client is dropped and told so.
The window has the size of the client that attached last.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from claude_bottle.errors import BottleError
from claude_bottle.keeper import frames
from claude_bottle.keeper.control import HIGH, LOW
from claude_bottle.keeper.filter import TerminalFilter
from claude_bottle.keeper.pty import size
from claude_bottle.keeper.ring import Ring

if TYPE_CHECKING:
    from claude_bottle.keeper.control import Connection, Message
    from claude_bottle.keeper.loop import Loop, Timer
    from claude_bottle.keeper.pty import Terminal
    from claude_bottle.keeper.recorder import Recorder

# How long one terminal that takes nothing may hold up the agent and the other operators: a pause of a network or of a
# terminal, not a forgotten Ctrl-S.
STALL_SECONDS = 30.0


class Session:
    """`terminal` is the agent's. `recorder` may be None."""

    def __init__(self, loop: Loop, terminal: Terminal, recorder: Recorder | None) -> None:
        self._loop, self._terminal, self._recorder = loop, terminal, recorder
        self._filter = TerminalFilter()
        self._ring = Ring()
        self._clients: dict[Connection, tuple[int, int]] = {}
        self._stalled: dict[Connection, Timer] = {}
        self.standing = ""
        """What the operators' titles say while nothing waits for them."""
        terminal.listen(self._output)

    @property
    def attached(self) -> int:
        return len(self._clients)

    def attach(self, connection: Connection, message: Message) -> None:
        """Show what is there and everything that follows; take its input."""
        rows, cols = size(message.get("rows"), message.get("cols"))
        connection.on_data = self._typed
        connection.on_drained = lambda: self._drained(connection)
        connection.on_close.append(self._left)
        self._clients[connection] = (rows, cols)
        replay = self._ring.replay()
        if replay:
            connection.stream(frames.OUTPUT, replay)
        if connection in self._clients:
            self._fit()
            self._terminal.nudge()

    def say(self, message: Message) -> None:
        """Something for every attached terminal's own command, which is no output of the agent's."""
        for connection in list(self._clients):
            connection.send(message)

    def resize(self, connection: Connection, message: Message) -> None:
        if connection in self._clients:
            self._clients[connection] = size(message.get("rows"), message.get("cols"))
            self._fit()

    def finish(self, birth: Connection | None = None) -> None:
        """The agent has ended: take what it left in the terminal, then hang up. `birth`, the connection of the CLI that
        launched it, is shown everything if the agent was quicker than its request to attach."""
        self._terminal.listen(None)
        self._output(self._terminal.drain())
        self._terminal.close()
        replay = self._ring.replay()
        if birth and not birth.asked and replay:
            birth.stream(frames.OUTPUT, replay)
        if self._recorder:
            self._recorder.close()

    def interrupt(self, notice: str) -> None:
        """The agent has ended and another will follow: take what it left, hang up, leave every attached terminal as a
        shell would expect it, and say why. `notice` is printable."""
        self._terminal.listen(None)
        self._output(self._terminal.drain())
        self._terminal.close()
        # What was on the screen belongs to a program that is gone: whoever attaches later is not shown it.
        said = self._ring.modes().resetting() + f"\r\n{notice}\r\n".encode()
        self._ring, self._filter = Ring(), TerminalFilter()
        self._show(said)

    def go_on(self, terminal: Terminal) -> None:
        """The same clients on the terminal of the agent that follows."""
        self._terminal = terminal
        if not self._stalled:
            terminal.listen(self._output)

    @property
    def window(self) -> tuple[int, int]:
        """Rows and columns."""
        return self._terminal.rows, self._terminal.cols

    def _output(self, data: bytes) -> None:
        shown = self._filter.feed(data)
        if shown:
            self._show(shown)

    def _show(self, shown: bytes) -> None:
        self._ring.add(shown)
        if self._recorder:
            self._recorder.output(shown)
        for connection in list(self._clients):
            connection.stream(frames.OUTPUT, shown)
            if connection.queued > HIGH and connection in self._clients:
                self._wait_for(connection)

    def _typed(self, connection: Connection, kind: bytes, data: bytes) -> None:
        if kind == frames.INPUT and connection in self._clients:
            self._terminal.write(data)

    def _fit(self) -> None:
        rows, cols = list(self._clients.values())[-1]
        if (rows, cols) != (self._terminal.rows, self._terminal.cols):
            self._terminal.resize(rows, cols)
            if self._recorder:
                self._recorder.resized(rows, cols)

    def _left(self, connection: Connection) -> None:
        self._clients.pop(connection, None)
        self._drained(connection)
        if self._clients:
            self._fit()

    def _wait_for(self, connection: Connection) -> None:
        if connection not in self._stalled:
            self._stalled[connection] = self._loop.later(STALL_SECONDS, lambda: self._drop(connection))
            self._terminal.listen(None)

    def _drained(self, connection: Connection) -> None:
        timer = self._stalled.pop(connection, None)
        if timer:
            timer.cancel()
            if not self._stalled:
                self._terminal.listen(self._output)

    def _drop(self, connection: Connection) -> None:
        if connection.queued < LOW:
            return
        self._left(connection)
        connection.drop(BottleError("detached: this terminal did not take the agent's output",
                                    why=f"nothing was read for {STALL_SECONDS:g} s; the agent runs on"))  # fmt: skip
