"""Listeners, the control line and the journal's events: what keeps the conversations going.

Accepts on the descriptors the bottle's opener handed over, answers DNS, carries events to the keeper and obeys `halt`,
`resume` and `stop`. If the keeper is gone or does not take events any more, nothing is let through. May touch: the
sockets it was given; it opens none but through `dial`.
"""

from __future__ import annotations

import os
import socket
from collections import deque
from collections.abc import Callable, Mapping

from claude_bottle.gate import control, dns, limits
from claude_bottle.gate.conversation import Conversation
from claude_bottle.gate.decide import GateState, new_id
from claude_bottle.gate.dial import Dialler
from claude_bottle.gate.dns_stream import DnsStream
from claude_bottle.gate.judge_line import JudgeLine
from claude_bottle.gate.loop import READ, WRITE, Loop
from claude_bottle.gate.session import Session
from claude_bottle.model import events
from claude_bottle.model.policy import HOST_NOT_GRANTED

_ACCEPTS_PER_TURN = 64


class Server:
    """`listeners` by registered name, non-blocking. `gone` is called when the keeper is, or says stop."""

    def __init__(
        self, loop: Loop, state: GateState, dialler: Dialler, control_line: socket.socket,
        listeners: Mapping[str, socket.socket], gone: Callable[[], None], judges: JudgeLine | None = None,
    ) -> None:  # fmt: skip
        self.loop, self.dialler, self._state, self.judges = loop, dialler, state, judges
        self._unrecorded = 0
        self._line = ControlLine(loop, control_line, self._obey, gone, self._line_drained)
        self._gone = gone
        self._keeper_halts = False
        self._sessions: set[Session] = set()
        self._accepting = False
        self._denials = _Denials(loop, self.record)
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

    def send(self, op: str, **data: object) -> None:
        """A control message to the keeper."""
        self._line.send(control.encode(op, **data))

    # For sessions

    def record(self, kind: str, data: dict[str, object]) -> None:
        """One event to the journal. A keeper that takes none is a journal that cannot be written: then nothing is let
        through, and what is refused meanwhile is only counted."""
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
            self.loop.watch(sock.fileno(), READ, lambda events, name=name, sock=sock: self._accept(name, sock))  # type: ignore[misc]

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
            logic: DnsStream | Conversation = DnsStream(self._state.book, self._denials.add)
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
                    self._denials.add(answer.denied)
                if answer.wire is not None:
                    sock.sendto(answer.wire, peer)
            except OSError:
                return  # nothing more to read, or an answer nobody waits for

    # The keeper

    def _obey(self, message: dict[str, object]) -> None:
        match message.get("op"):
            case "halt":
                self._keeper_halts = True
            case "resume":
                self._keeper_halts = False
            case "stop":
                self._gone()
            case "credentials":
                self._refresh(message.get("values"))
            case other:
                self.fault(f"unknown control message {str(other)[:40]!r}")
        self._settle_halt()

    def _refresh(self, values: object) -> None:
        """New secrets for credentials this gate holds, by name: `{"values": {"github": "…"}}`; null: it has expired."""
        if not isinstance(values, dict) or not all(value is None or isinstance(value, str) for value in values.values()):
            self.fault("credentials that are not texts by name")
            return
        self._state.injector = self._state.injector.refreshed(values)

    def _settle_halt(self) -> None:
        self._state.halted = self._keeper_halts or self._line.clogged


def _port(name: str, bound: int) -> int:
    """The port a connection on this listener means; a test's listener is bound elsewhere than where it stands for."""
    return {"http": 80, "https": 443}.get(name) or (int(name[5:]) if name.startswith("port-") else bound)


def _descriptor_limit() -> int:
    import resource

    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


class ControlLine:
    """The gate's end of the control socket: never waits, never forgets, and ends the gate when the keeper is gone."""

    def __init__(
        self, loop: Loop, sock: socket.socket, obey: Callable[[dict[str, object]], None], gone: Callable[[], None],
        drained: Callable[[], None],
    ) -> None:  # fmt: skip
        self._loop, self._sock, self._obey, self._gone, self._drained = loop, sock, obey, gone, drained
        self._decoder = control.Decoder()
        self._out: deque[bytes] = deque()
        self._size = 0
        sock.setblocking(False)
        loop.watch(sock.fileno(), READ, self._ready)

    @property
    def clogged(self) -> bool:
        return self._size > limits.CONTROL_HIGH_WATER

    @property
    def full(self) -> bool:
        """So much waits that further lines would only cost memory."""
        return self._size > 2 * limits.CONTROL_HIGH_WATER

    def send(self, line: bytes) -> None:
        self._out.append(line)
        self._size += len(line)
        self._flush()

    def _ready(self, events: int) -> None:
        if events & WRITE:
            self._flush()
            if not self._out:
                self._drained()
        try:
            data = self._sock.recv(65536)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._gone()
            return
        try:
            for message in self._decoder.feed(data):
                self._obey(message)
        except control.ControlBroken:
            self._gone()

    def _flush(self) -> None:
        try:
            while self._out:
                sent = self._sock.send(self._out[0])
                self._size -= sent
                if sent < len(self._out[0]):
                    self._out[0] = self._out[0][sent:]
                else:
                    self._out.popleft()
        except BlockingIOError:
            pass
        except OSError:
            self._gone()
            return
        self._loop.change(self._sock.fileno(), READ | (WRITE if self._out else 0))


class _Denials:
    """Denied names for the journal: each once per period, a bounded number of them, and how many more there were."""

    def __init__(self, loop: Loop, record: Callable[[str, dict[str, object]], None]) -> None:
        self._loop, self._record = loop, record
        self._seen: set[str] = set()
        self._since, self._more = loop.now, 0

    def add(self, name: str) -> None:
        if self._loop.now - self._since > limits.DNS_DENIALS_WITHIN:
            self._seen.clear()
            self._since = self._loop.now
        if name in self._seen:
            return
        if len(self._seen) >= limits.DNS_DENIALS:
            self._more += 1
            return
        self._seen.add(name)
        data: dict[str, object] = {"id": new_id(), "name": name[:253], "allow": False, "reason": HOST_NOT_GRANTED}
        if self._more:
            data["not_recorded"], self._more = self._more, 0
        self._record(events.DNS, data)


def stop_now() -> None:
    """End this process at once: its descriptors close, and with them the bottle's only way out."""
    os._exit(0)
