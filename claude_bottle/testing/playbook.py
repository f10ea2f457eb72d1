"""Whole gate conversations in memory: events in, commands checked, no socket, no clock, no thread.

`Playbook` plays the bottle's client and the upstream servers of one `Conversation`: bytes go in on a link, what comes out
is collected per link, and the test may look at every command. `TlsPeer` is a real TLS client or server over memory, so
that intercepted conversations run end to end. Part of the product's test kit; touches nothing outside its own memory.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterable
from typing import TYPE_CHECKING

from claude_bottle.gate import core
from claude_bottle.gate.conversation import Conversation
from claude_bottle.gate.core import CLIENT
from claude_bottle.gate.decide import GateState

if TYPE_CHECKING:
    from claude_bottle.gate.desk import Wait


class TlsPeer:
    """The other end of a TLS link. `receive` and `send` give the wire bytes to pass on."""

    def __init__(self, context: ssl.SSLContext, name: str | None = None, *, server: bool = False) -> None:
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self._in, self._out, server_side=server, server_hostname=name)
        self.plain = bytearray()
        self.ended = False

    def start(self) -> bytes:
        return self.receive(b"")

    def receive(self, wire: bytes) -> bytes:
        """Take wire bytes; plaintext is added to `plain`. Returns what to send back. ssl.SSLError when refused."""
        self._in.write(wire)
        try:
            self.tls.do_handshake()
            while data := self.tls.read(65536):
                self.plain += data
            self.ended = True
        except ssl.SSLWantReadError:
            pass
        return self._out.read()

    def send(self, plain: bytes) -> bytes:
        self.tls.write(plain)
        return self._out.read()


class Playbook:
    """One conversation and everything that came out of it."""

    def __init__(self, state: GateState, listener: str = "proxy", address: str = "127.0.0.1", port: int = 3128) -> None:
        self.logic = Conversation(state, listener, address, port)
        self.yields = True
        """Whether a turn that was asked for comes at once; else the test plays it."""
        self.commands: list[core.Command] = []
        self.sent: dict[int, bytearray] = {CLIENT: bytearray()}
        self.peers: dict[int, TlsPeer] = {}
        self._take(self.logic.start())

    # What the outside does

    def event(self, event: core.Event) -> None:
        self._take(self.logic.handle(event))

    def client(self, data: bytes) -> bytes:
        """The client sends; what came back since the last look (decrypted if the client speaks TLS)."""
        self._send(CLIENT, data)
        return self.answer()

    def upstream(self, link: int, data: bytes) -> bytes:
        """The server on `link` sends; what the client got for it."""
        self._send(link, data)
        return self.answer()

    def answer(self) -> bytes:
        """What the client has received since it was last asked."""
        return self._drain(CLIENT)

    def arrived(self, link: int) -> bytes:
        """What has reached the server on `link` since it was last asked."""
        return self._drain(link)

    def dialled(self, link: int, *, context: ssl.SSLContext | None = None) -> bytes:
        """The dial succeeds; with `context` the server does its TLS handshake. What reached it."""
        if context is not None:
            self.peers[link] = TlsPeer(context, server=True)
        self.event(core.Dialled(link))
        return self.arrived(link)

    def secure(self, context: ssl.SSLContext, name: str, *, before: bytes = b"") -> TlsPeer:
        """The client begins TLS for `name`. ssl.SSLError if the gate's answer is an alert."""
        peer = TlsPeer(context, name)
        hello = peer.start()
        self.sent[CLIENT].clear()
        self.peers[CLIENT] = peer
        self.event(core.Received(CLIENT, before + hello))
        return peer

    # What came out

    @property
    def dials(self) -> list[core.Dial]:
        return [command for command in self.commands if isinstance(command, core.Dial)]

    @property
    def records(self) -> list[dict[str, object]]:
        return [{"kind": c.kind, **c.data} for c in self.commands if isinstance(c, core.Record)]

    @property
    def decisions(self) -> list[dict[str, object]]:
        return [record for record in self.records if record["kind"] == "decision"]

    @property
    def told(self) -> list[dict[str, object]]:
        """What the keeper was told."""
        return [{"op": c.op, **c.data} for c in self.commands if isinstance(c, core.Tell)]

    @property
    def cut(self) -> bool:
        """Whether the tunnel was ended."""
        return any(isinstance(c, core.Cut) for c in self.commands)

    @property
    def closed(self) -> bool:
        return any(c.link == CLIENT for c in self.commands if isinstance(c, (core.Close, core.Abort)))

    def upstream_bytes(self) -> int:
        """How many bytes were ever sent towards any server."""
        written = (c for c in self.commands if isinstance(c, core.Write))
        return sum(len(c.data) for c in written if c.link != CLIENT)

    def _hear_of(self, wait: Wait) -> None:
        wait.changed = lambda: self.event(core.Told(wait))

    def _send(self, link: int, data: bytes) -> None:
        peer = self.peers.get(link)
        self.event(core.Received(link, peer.send(data) if peer else data))

    def _drain(self, link: int) -> bytes:
        peer = self.peers.get(link)
        buffer = peer.plain if peer else self.sent.setdefault(link, bytearray())
        data = bytes(buffer)
        buffer.clear()
        return data

    def _take(self, commands: Iterable[core.Command]) -> None:
        replies: list[tuple[int, bytes]] = []
        alerted: ssl.SSLError | None = None
        again = False
        for command in commands:
            if isinstance(command, core.Write):
                data = bytes(command.data)
                self.commands.append(core.Write(command.link, data))
                peer = self.peers.get(command.link)
                if peer is None:
                    self.sent.setdefault(command.link, bytearray()).extend(data)
                    continue
                try:
                    if reply := peer.receive(data):
                        replies.append((command.link, reply))
                except ssl.SSLError as alert:  # what the gate refused; a server has nothing to say to it
                    alerted = alert if command.link == CLIENT else alerted
            else:
                self.commands.append(command)
                if isinstance(command, core.Await):
                    self._hear_of(command.wait)
                again = again or isinstance(command, core.Yield)
        if alerted is not None:
            raise alerted
        for link, reply in replies:
            self.event(core.Received(link, reply))
        if again and self.yields:
            self.event(core.Again())


def split(data: bytes, sizes: Iterable[int]) -> list[bytes]:
    """`data` in pieces of these sizes, the rest last."""
    pieces, at = [], 0
    for size in sizes:
        pieces.append(data[at : at + size])
        at += size
    return [piece for piece in (*pieces, data[at:]) if piece]
