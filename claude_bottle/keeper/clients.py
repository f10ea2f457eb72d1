"""What clients may ask of a keeper, one method each, and who is told what.

Every request is of the operator (the server has checked the uid) but may come from another version of claude-bottle, so
each is checked and a wrong one costs its sender the connection, nothing else. Decisions about the bottle's life are the
keeper's; here they are only passed on.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING

from claude_bottle.errors import BottleError
from claude_bottle.keeper import frames
from claude_bottle.keeper.birth import HEARD
from claude_bottle.keeper.control import Connection, Message, Server
from claude_bottle.keeper.loop import READ
from claude_bottle.keeper.order import PIPES
from claude_bottle.model import events

if TYPE_CHECKING:
    import socket

    from claude_bottle.keeper.boot import Booted
    from claude_bottle.keeper.checkpoints import Checkpoints
    from claude_bottle.keeper.desk import Desk
    from claude_bottle.keeper.execs import PipedExec, TerminalExec
    from claude_bottle.keeper.order import Order
    from claude_bottle.keeper.reboot_contract import Reboots
    from claude_bottle.keeper.session import Session

MAX_GRACE = 3600.0
# Signals that a client without a terminal may pass on, to its own program or to the agent of `run`.
PASSED_SIGNALS = (1, 2, 3, 15)
# Of what a client's environment says, only the kind of its terminal matters inside.
_TERM_LIMIT = 64


class Clients:
    """The server and its clients. `stop(grace, keep)` is the keeper's, `desk` what it has of requests."""

    def __init__(
        self, order: Order, booted: Booted, session: Session | None, stop: Callable[[float, bool], None],
        rebooter: Reboots, desk: Desk,
    ) -> None:  # fmt: skip
        self._order, self._booted, self._session, self._stop = order, booted, session, stop
        self.rebooter, self._desk = rebooter, desk
        self._following: set[Connection] = set()
        self._checkpoints: Checkpoints | None = None
        self._execs: dict[Connection, TerminalExec | PipedExec] = {}
        self._attached: set[Connection] = set()
        # Our ends of what a `run` writes, as long as somebody reads them.
        self.outputs = {1: order.pipes.operator[1], 2: order.pipes.operator[2]} if order.pipes else {}
        self._server = Server(booted.loop, order.paths.socket(order.identity), self._connected)

    def adopt(self, sock: socket.socket) -> Connection:
        return self._server.adopt(sock)

    def renew(self, order: Order, booted: Booted) -> None:
        """The bottle has booted again: from now on requests are about this one."""
        self._order, self._booted = order, booted

    def end_execs(self) -> None:
        """The bottle is gone, and with it what ran beside the agent: tell whoever waits for it."""
        for running in list(self._execs.values()):
            running.ended()

    def close(self) -> None:
        """No new clients from now on; those that are there stay."""
        self._server.close()
        self.end_checkpoints()

    def end_checkpoints(self) -> None:
        """Wait for one that is being taken: the bottle goes down."""
        if self._checkpoints is not None:
            self._checkpoints.close()
            self._checkpoints = None

    def broadcast(self, message: Message) -> None:
        for connection in list(self._server.connections):
            connection.send(message)

    def farewell(self, message: Message, done: Callable[[], None]) -> bool:
        """The bottle is gone: tell everyone, and close each connection once it has got everything. Calls `done` when
        the last one is closed; False when there is none to wait for."""
        self.end_execs()
        for connection in list(self._server.connections):
            connection.send(message)
            connection.on_close.append(lambda _: None if self._server.connections else done())
            connection.finish()
        return bool(self._server.connections)

    def drain_pipes(self) -> None:
        """The CLI of a `run` has gone: read what the agent writes and forget it, so that it neither blocks nor dies."""
        for fd in self.outputs.values():
            os.set_blocking(fd, False)
            self._booted.loop.watch(fd, READ, lambda _ready, fd=fd: self._discard(fd))  # type: ignore[misc]

    def _discard(self, fd: int) -> None:
        try:
            if os.read(fd, 1 << 16):
                return
        except BlockingIOError:
            return
        self._booted.loop.unwatch(fd)

    def _connected(self, connection: Connection) -> None:
        connection.on_message = self._asked
        connection.on_close.append(self._disconnected)
        connection.send({"op": "hello", "version": frames.VERSION, "identity": self._order.identity})

    def _disconnected(self, connection: Connection) -> None:
        self._execs.pop(connection, None)
        self._following.discard(connection)
        if self._session and connection in self._attached:
            self._attached.discard(connection)
            self._booted.audit.record(events.DETACHED, attached=self._session.attached)

    def _asked(self, connection: Connection, message: Message) -> None:
        if message.get("op") == HEARD:
            return  # the CLI of the launch: it has yet to say what it wants
        connection.requested()
        operation = _OPERATIONS.get(str(message.get("op")))
        try:
            if operation is None:
                raise BottleError(f"this keeper does not know the request {str(message.get('op'))[:40]!r}",
                                  why="it was started by another version of claude-bottle")  # fmt: skip
            operation(self, connection, message)
        except BottleError as problem:
            connection.fail(problem)

    def _attach(self, connection: Connection, message: Message) -> None:
        if self._session is None:
            do = f"claude-bottle exec {self._order.identity} -- sh"
            raise BottleError(f"{self._order.identity} has no terminal to attach to", why="it was started by `run`", do=do)
        self._demand_idle(connection)
        self._attached.add(connection)
        self._session.attach(connection, message)
        self._desk.greet(connection)
        self._booted.audit.record(events.ATTACHED, attached=self._session.attached)

    def _exec(self, connection: Connection, message: Message) -> None:
        from claude_bottle.keeper.execs import PipedExec, TerminalExec, argv_of

        self._demand_idle(connection)
        argv, tty = argv_of(message), message.get("tty") is True
        self._booted.audit.record(events.EXEC, argv=argv, tty=tty)
        env = dict(self._order.env)
        term = message.get("term")
        if tty and isinstance(term, str) and 0 < len(term) <= _TERM_LIMIT and term.isascii() and term.isprintable():
            env["TERM"] = term
        kind = TerminalExec if tty else PipedExec
        self._execs[connection] = kind(self._booted.loop, connection, self._booted.bottle, message, env)

    def _demand_idle(self, connection: Connection) -> None:
        if connection in self._execs or connection in self._attached or connection in self._following:
            raise BottleError("this connection is already in use")

    def _resize(self, connection: Connection, message: Message) -> None:
        if connection in self._execs:
            self._execs[connection].message(message)
        elif self._session:
            self._session.resize(connection, message)

    def _signal(self, connection: Connection, message: Message) -> None:
        """From a client without a terminal, which cannot type Ctrl-C: to its own program, or to the agent of `run`."""
        if connection in self._execs:
            self._execs[connection].message(message)
        elif self._order.io == PIPES and message.get("sig") in PASSED_SIGNALS:
            self._booted.agent.kill(int(str(message["sig"])))

    def _closed(self, _connection: Connection, message: Message) -> None:
        """Nobody will read this stream of `run` any more: the agent shall see a broken pipe, as it would outside."""
        stream = message.get("stream")
        fd = self.outputs.pop(stream, None) if isinstance(stream, int) else None
        if fd is not None:
            self._booted.loop.unwatch(fd)
            os.close(fd)

    @property
    def checkpoints(self) -> Checkpoints:
        if self._checkpoints is None:
            from claude_bottle.keeper.checkpoints import Checkpoints

            self._checkpoints = Checkpoints(self._order, self._booted)
        return self._checkpoints

    def _checkpoint(self, connection: Connection, message: Message) -> None:
        self.checkpoints.ask(connection, message)

    def _rewind(self, connection: Connection, message: Message) -> None:
        """Told when the bottle is up again as it was at the checkpoint (`Control.rewind`)."""
        from claude_bottle.keeper.rewinding import Rewinding
        from claude_bottle.state import checkpoints

        self._demand_idle(connection)
        to = checkpoints.load(self._order.paths, self._order.identity, str(message.get("to")))
        self.rebooter.rewind(Rewinding(to, lambda what: _answer(connection, what)))

    def _work(self, connection: Connection, _message: Message) -> None:
        """The workspace for a reader on this host, where it does not lie there for everybody."""
        fd = self._booted.bottle.work()
        if fd is None:
            connection.send({"op": "work", "here": False})
            return
        try:
            connection.hand({"op": "work", "here": True}, fd)
        finally:
            os.close(fd)

    def _stop_asked(self, _connection: Connection, message: Message) -> None:
        grace = message.get("grace")
        if isinstance(grace, bool) or not isinstance(grace, (int, float)) or not 0 <= grace <= MAX_GRACE:
            raise BottleError(f"the time to wait is 0 to {MAX_GRACE:g} seconds")
        self._stop(float(grace), message.get("keep") is True)

    def _status(self, connection: Connection, _message: Message) -> None:
        gate = self._booted.gate
        connection.send({
            "op": "status", "identity": self._order.identity, "keeper": os.getpid(), "agent": self._booted.agent.pid,
            "attached": self._session.attached if self._session else 0, "execs": len(self._execs),
            "gate": "none" if gate is None else "up" if gate.up else "down", "io": self._order.io,
            "halted": self._booted.audit.halted, "egress_spent": self._desk.spent, "busy": self.rebooter.busy,
        })  # fmt: skip

    def _list_requests(self, connection: Connection, message: Message) -> None:
        self._desk.deciding().list(connection, message)

    def _follow_requests(self, connection: Connection, message: Message) -> None:
        self._demand_idle(connection)
        self._following.add(connection)
        self._desk.deciding().follow(connection, message)

    def _approve(self, connection: Connection, message: Message) -> None:
        self._desk.deciding().approve(connection, message)

    def _reject(self, connection: Connection, message: Message) -> None:
        self._desk.deciding().reject(connection, message)

    def _revoke(self, connection: Connection, message: Message) -> None:
        self._desk.deciding().revoke(connection, message)

    def _grant(self, connection: Connection, message: Message) -> None:
        self._desk.deciding().grant(connection, message)

    def _preview(self, connection: Connection, message: Message) -> None:
        self._desk.deciding().preview(connection, message)

    def _wait(self, _connection: Connection, _message: Message) -> None:
        """Every connection is told when the agent has ended and when the bottle is settled; this one only that."""


def _answer(connection: Connection, what: Message | BottleError) -> None:
    if isinstance(what, BottleError):
        connection.fail(what)
    else:
        connection.send(what)


_OPERATIONS: dict[str, Callable[[Clients, Connection, Message], None]] = {
    "attach": Clients._attach,
    "exec": Clients._exec,
    "resize": Clients._resize,
    "signal": Clients._signal,
    "closed": Clients._closed,
    "checkpoint": Clients._checkpoint,
    "rewind": Clients._rewind,
    "work": Clients._work,
    "stop": Clients._stop_asked,
    "status": Clients._status,
    "wait": Clients._wait,
    "requests": Clients._list_requests,
    "follow_requests": Clients._follow_requests,
    "approve": Clients._approve,
    "reject": Clients._reject,
    "revoke": Clients._revoke,
    "grant": Clients._grant,
    "preview": Clients._preview,
}
