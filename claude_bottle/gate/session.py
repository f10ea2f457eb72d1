"""A conversation with its sockets: link events become core events, commands are carried out in order.

One session per connection of the bottle. Anything unforeseen in the logic ends this session and is reported as a fault;
the others go on. May touch: the client's socket and the upstream links dialled for it.
"""

from __future__ import annotations

import socket
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from claude_bottle.gate import core
from claude_bottle.gate.core import CLIENT
from claude_bottle.gate.judge_line import JUDGE, carrier_wish
from claude_bottle.gate.link import Link
from claude_bottle.gate.tunnel import Tunnel
from claude_bottle.model.policy import PUSH_REFUSED, UPSTREAM_FAILED

if TYPE_CHECKING:
    from claude_bottle.gate.budget import Budget
    from claude_bottle.gate.dial import Dialler, Dialling
    from claude_bottle.gate.judge_line import Asking, JudgeLine
    from claude_bottle.gate.loop import Loop, Timer


class Logic(Protocol):
    """What a session runs: a `Conversation` or a `DnsStream`."""

    def start(self) -> list[core.Command]: ...
    def handle(self, event: core.Event) -> list[core.Command]: ...


class Surroundings(Protocol):
    """What a session needs of the server."""

    loop: Loop
    dialler: Dialler
    judges: JudgeLine | None

    def record(self, kind: str, data: dict[str, object]) -> None: ...
    def send(self, op: str, **data: object) -> None: ...
    def fault(self, what: str) -> None: ...
    def session_over(self, session: Session) -> None: ...


class Session:
    """Begins at once. Over when the client's socket is closed and no tunnel runs."""

    def __init__(self, server: Surroundings, logic: Logic, client: socket.socket) -> None:
        self._server, self._logic = server, logic
        self._links: dict[int, Link] = {CLIENT: Link(server.loop, client, self, CLIENT)}
        self._dials: dict[int, Dialling | Asking] = {}
        self._tunnel: Tunnel | None = None
        self._timer: Timer | None = None
        self._idle: float | None = None
        self._over = False
        self._running = False
        self._events: deque[core.Event] = deque()
        self._run(logic.start)

    @property
    def over(self) -> bool:
        return self._over

    def judge(self) -> None:
        """The policy has changed."""
        self._handle(core.Judged())

    # From links

    def link_received(self, link: Link, data: memoryview) -> None:
        if self._idle is not None and self._timer is not None:
            self._timer.at = self._server.loop.now + self._idle
        self._handle(core.Received(link.number, data))

    def link_ended(self, link: Link) -> None:
        self._handle(core.Ended(link.number))

    def link_lost(self, link: Link) -> None:
        if self._links.get(link.number) is not link:
            return
        del self._links[link.number]
        self._handle(core.Lost(link.number))
        if link.number == CLIENT:
            self._end()

    def link_clogged(self, link: Link, clogged: bool) -> None:
        self._handle(core.Clogged(link.number) if clogged else core.Drained(link.number))

    def _handle(self, event: core.Event) -> None:
        """Events that come up while commands are carried out wait until all of those are."""
        if self._over:
            return
        self._events.append(event)
        if not self._running:
            self._run(None)

    def _run(self, first: Callable[[], list[core.Command]] | None) -> None:
        self._running = True
        try:
            if first is not None:
                self._perform_all(first())
            while self._events:
                self._perform_all(self._logic.handle(self._events.popleft()))
        except Exception as bug:  # the boundary: one bottle connection must not take the gate down
            # The text of the exception could quote what the bottle or an upstream sent, so only its place is told.
            self._server.fault(f"{type(bug).__name__} at {_place(bug)}")
            self._events.clear()
            self._end()
        finally:
            self._running = False

    def _perform_all(self, commands: list[core.Command]) -> None:
        for command in commands:
            self._perform(command)

    # From the logic

    def _perform(self, command: core.Command) -> None:
        match command:
            case core.Write(number, data):
                if (link := self._links.get(number)) is not None:
                    link.write(data)
            case core.Record(kind, data):
                self._server.record(kind, data)
            case core.Timer(seconds, idle):
                self._set_timer(seconds, idle)
            case core.Pause(number) | core.Resume(number):
                if (link := self._links.get(number)) is not None:
                    (link.pause if isinstance(command, core.Pause) else link.resume)()
            case core.Close(number):
                if (link := self._links.get(number)) is not None:
                    link.close()
            case core.Abort(number):
                self._abort(number)
            case core.Dial(number, origin, fresh):
                self._dial(number, origin, fresh)
            case core.Judge(number):
                self._ask(number, JUDGE, PUSH_REFUSED)
            case core.Release(number, origin, channel):
                if (link := self._links.pop(number, None)) is not None:
                    self._server.dialler.keep(link, origin, channel)
            case core.Splice(number, budget):
                self._splice(number, budget)
            case core.Cut(why):
                if self._tunnel is not None:
                    self._tunnel.end(why)
            case core.Tell(op, data):
                self._server.send(op, **data)
            case core.Await(wait):
                wait.changed = lambda: self._server.loop.submit(lambda: self._handle(core.Told(wait)))
            case core.Yield():
                self._server.loop.submit(lambda: self._handle(core.Again()))

    def _set_timer(self, seconds: float | None, idle: bool) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._idle = seconds if idle else None
        if seconds is not None:
            self._timer = self._server.loop.after(seconds, self._expired)

    def _expired(self) -> None:
        self._timer = None
        self._handle(core.Expired())

    def _abort(self, number: int) -> None:
        if (dialling := self._dials.pop(number, None)) is not None:
            dialling.cancel()
        if (link := self._links.pop(number, None)) is not None:
            link.abort()

    def _dial(self, number: int, origin: core.Origin, fresh: bool) -> None:
        if origin.ssh:
            self._ask(number, carrier_wish(origin.host, origin.port, origin.ssh), UPSTREAM_FAILED)
            return
        kept = None if fresh else self._server.dialler.take(origin)
        if kept is not None:
            link, channel = kept
            link.adopt(self, number)
            self._links[number] = link
            self._handle(core.Dialled(number, channel))
            return

        def connected(sock: socket.socket) -> None:
            del self._dials[number]
            self._links[number] = Link(self._server.loop, sock, self, number)
            self._handle(core.Dialled(number))

        def failed(reason: str, detail: str) -> None:
            del self._dials[number]
            self._handle(core.DialFailed(number, reason, detail))

        self._dials[number] = self._server.dialler.dial(origin, connected, failed)

    def _ask(self, number: int, wish: bytes, reason: str) -> None:
        """For a link to a process that the keeper starts."""

        def connected(sock: socket.socket) -> None:
            del self._dials[number]
            self._links[number] = Link(self._server.loop, sock, self, number)
            self._handle(core.Dialled(number))

        def failed(detail: str) -> None:
            self._dials.pop(number, None)
            self._handle(core.DialFailed(number, reason, detail))

        if self._server.judges is None:
            self._server.loop.submit(lambda: failed("it is not to be had where this gate runs"))
        else:
            self._dials[number] = self._server.judges.ask(wish, connected, failed)

    def _splice(self, number: int, budget: Budget) -> None:
        """Hand both sockets to the kernel once nothing waits in our own queues."""
        client, upstream = self._links.pop(CLIENT), self._links.pop(number)
        first = (upstream.take_waiting(), client.take_waiting())

        def ended(up: int, down: int, why: str) -> None:
            self._handle(core.Spliced(up, down, why))
            self._end()

        self._tunnel = Tunnel(self._server.loop, client.detach(), upstream.detach(), first, budget, ended)

    def _end(self) -> None:
        if self._over:
            return
        self._over = True
        self._set_timer(None, False)
        for number in [*self._dials, *self._links]:
            self._abort(number)
        self._server.session_over(self)


def _place(bug: Exception) -> str:
    """The innermost function of ours an exception came from."""
    trace, place = bug.__traceback__, "?"
    while trace is not None:
        code = trace.tb_frame.f_code
        if "claude_bottle" in code.co_filename:
            place = f"{code.co_filename.rpartition('/')[2]}:{trace.tb_lineno}"
        trace = trace.tb_next
    return place
