"""Listeners, the control line and the journal's events: what keeps the conversations going.

Accepts on the descriptors the bottle's opener handed over, answers DNS, carries events to the keeper and lets `Orders` obey
it. If the keeper is gone or does not take events any more, nothing is let through. May touch: the sockets it was given; it
opens none but through `dial`.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Collection, Mapping

from claude_bottle.gate import control, dns, limits
from claude_bottle.gate.control_line import ControlLine
from claude_bottle.gate.conversation import Conversation
from claude_bottle.gate.decide import GateState
from claude_bottle.gate.dial import Dialler
from claude_bottle.gate.dns_stream import DnsStream
from claude_bottle.gate.judge_line import JudgeLine
from claude_bottle.gate.loop import READ, Loop
from claude_bottle.gate.orders import Orders
from claude_bottle.gate.refusals import Refusals
from claude_bottle.gate.session import Session
from claude_bottle.model import events

_ACCEPTS_PER_TURN = 64


class Server:
    """`listeners` by registered name, non-blocking. `gone` is called when the keeper is, or says stop."""

    def __init__(
        self, loop: Loop, state: GateState, dialler: Dialler, control_line: socket.socket,
        listeners: Mapping[str, socket.socket], gone: Callable[[], None], *, in_bottle: bool = True,
        judges: JudgeLine | None = None,
    ) -> None:  # fmt: skip
        self.loop, self.dialler, self._state, self.judges = loop, dialler, state, judges
        self._unrecorded = 0
        self._gone = gone
        self._keeper_halts = False
        self._orders = Orders(self, state, in_bottle=in_bottle)
        self._line = ControlLine(loop, control_line, self._orders.obey, gone, self._line_drained)
        self._sessions: set[Session] = set()
        self._accepting = False
        self._refusals = Refusals(loop, self.record)
        self._listeners: dict[str, socket.socket] = {}
        for name, sock in listeners.items():
            if name == "dns-udp":
                loop.watch(sock.fileno(), READ, lambda events, sock=sock: self._answer(sock))  # type: ignore[misc]
            elif name != "proxy" or state.explicit_proxy:
                self._listeners[name] = sock
            else:
                sock.close()
        self._most = min(limits.CONNECTIONS, max(8, (_descriptor_limit() - 64) // 6))
        self._accept_again()
        self._watch_budget()

    def send(self, op: str, **data: object) -> None:
        """A control message to the keeper."""
        self._line.send(control.encode(op, **data))

    # For sessions

    def record(self, kind: str, data: dict[str, object]) -> None:
        """One event to the journal. A keeper that takes none is a journal that cannot be written: then nothing is let
        through, and what is refused meanwhile is only counted."""
        if not self._refusals.admit(kind, data):
            return
        if self._line.full:
            self._unrecorded += 1
        else:
            self.send("event", event=events.Event(kind, data).to_dict())
        self._settle_halt()

    def _line_drained(self) -> None:
        """The keeper takes events again."""
        if self._unrecorded and not self._line.clogged:
            count, self._unrecorded = self._unrecorded, 0
            self.record(events.NOTE, {"what": "events of the gate were not recorded: too many at once", "count": count})
        self._settle_halt()

    def fault(self, what: str) -> None:
        if not self._line.full:
            self.send("fault", what=what)

    def session_over(self, session: Session) -> None:
        self._sessions.discard(session)
        if not self._accepting and len(self._sessions) < self._most:
            self._accept_again()

    # Accepting

    def _accept_again(self) -> None:
        self._accepting = True
        for name, sock in self._listeners.items():
            self._watch(name, sock)

    def _watch(self, name: str, sock: socket.socket) -> None:
        self.loop.watch(sock.fileno(), READ, lambda events: self._accept(name, sock))

    def _accept_no_more(self) -> None:
        """Further connections wait in the kernel's queue."""
        self._accepting = False
        for sock in self._listeners.values():
            self.loop.forget(sock.fileno())

    def _accept(self, name: str, listener: socket.socket) -> None:
        for _ in range(_ACCEPTS_PER_TURN):
            if len(self._sessions) >= self._most:
                self._accept_no_more()
                return
            try:
                client, _ = listener.accept()
            except BlockingIOError:
                return
            except OSError:
                # Out of descriptors or memory, or the client is gone again: a pause instead of a busy loop.
                self._accept_no_more()
                self.loop.after(0.1, self._resume_accepting)
                return
            client.setblocking(False)
            self._begin(name, client)

    def _resume_accepting(self) -> None:
        if not self._accepting and len(self._sessions) < self._most:
            self._accept_again()

    def _begin(self, name: str, client: socket.socket) -> None:
        address, port = client.getsockname()[:2]
        if name == "dns-tcp":
            logic: DnsStream | Conversation = DnsStream(self._state.book, self._refusals.name)
        else:
            logic = Conversation(self._state, name, str(address), _port(name, int(port)))
        session = Session(self, logic, client)
        if not session.over:
            self._sessions.add(session)

    def _answer(self, sock: socket.socket) -> None:
        for _ in range(_ACCEPTS_PER_TURN):
            try:
                query, peer = sock.recvfrom(4096)
                answer = dns.answer(query, self._state.book)
                if answer.denied is not None:
                    self._refusals.name(answer.denied)
                if answer.wire is not None:
                    sock.sendto(answer.wire, peer)
            except OSError:
                return  # nothing more to read, or an answer nobody waits for

    # The keeper

    def halt(self, halted: bool) -> None:
        self._keeper_halts = halted
        self._settle_halt()

    def leave(self) -> None:
        """The keeper wants this gate to end."""
        self._tell_spent()
        self._refusals.tell()
        self._gone()

    def listen(self, name: str, sock: socket.socket) -> None:
        """One more listener. A second one of the same name takes the first one's place."""
        former = self._listeners.pop(name, None)
        if former is not None:
            if self._accepting:
                self.loop.forget(former.fileno())
            former.close()
        self._listeners[name] = sock
        if self._accepting:
            self._watch(name, sock)

    def serves(self, ports: Collection[int]) -> Collection[int]:
        """Those of `ports` that a listener of ours stands for."""
        return [port for port in ports if port in (limits.HTTP_PORT, limits.TLS_PORT) or f"port-{port}" in self._listeners]

    def judge_again(self) -> None:
        """The policy has changed: what is under way goes on only as far as it is granted now."""
        if not self._budget_watched:
            self._watch_budget()
        self.dialler.keep_only(lambda origin: self._state.granted(origin.host, origin.port))
        for session in list(self._sessions):
            session.judge()

    def _tell_spent(self) -> None:
        budget = self._state.budget
        if budget.spent != budget.told:
            budget.told = budget.spent
            self.send("spent", egress_bytes=budget.spent)

    def _watch_budget(self) -> None:
        """Nobody wakes for a budget that is not there."""
        self._budget_watched = self._state.budget.limit is not None
        if self._budget_watched:
            self._tell_spent()
            self.loop.after(limits.SPENT_EVERY, self._watch_budget)

    def _settle_halt(self) -> None:
        self._state.halted = self._keeper_halts or self._line.clogged


def _port(name: str, bound: int) -> int:
    """The port a connection on this listener means; a test's listener is bound elsewhere than where it stands for."""
    return {"http": 80, "https": 443}.get(name) or (int(name[5:]) if name.startswith("port-") else bound)


def _descriptor_limit() -> int:
    import resource

    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def stop_now() -> None:
    """End this process at once: its descriptors close, and with them the bottle's only way out."""
    os._exit(0)
