"""One connection of the bottle, from its first byte: which listener it came by decides who must say which name.

Transparent connections mean the name whose synthetic address they dialled; TLS ones must say the same name in their
hello, plain ones in Host; CONNECT names it itself. Then either `http` takes over, judging request by request, or, for
opaque rules only, `tunnel`. Events in, commands out; the only state shared with other conversations is `GateState`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from claude_bottle.gate import clienthello, core, limits
from claude_bottle.gate.audit import Attempt
from claude_bottle.gate.core import CLIENT
from claude_bottle.gate.decide import GateState
from claude_bottle.gate.hello_stage import HelloStage
from claude_bottle.gate.http import HttpStage
from claude_bottle.gate.locate import Place
from claude_bottle.gate.tls import Channel, TlsFailed
from claude_bottle.gate.tunnel_stage import TunnelStage
from claude_bottle.model import policy as reasons


class Stage(Protocol):
    """What a conversation is doing at the moment. Data arrives decrypted."""

    def received(self, link: int, data: bytes | bytearray | memoryview) -> None: ...
    def ended(self, link: int, *, truncated: bool = False) -> None: ...
    def dialled(self, link: int) -> None: ...
    def failed(self, link: int, reason: str, detail: str) -> None: ...
    def expired(self) -> None: ...
    def drained(self) -> None: ...
    def judged(self) -> None: ...
    def stop(self, why: str) -> None: ...


class Conversation:
    """`listener`: the name it was accepted on; `address`, `port`: what the bottle dialled."""

    def __init__(self, state: GateState, listener: str, address: str, port: int) -> None:
        self.state, self.listener, self.address, self.port = state, listener, address, port
        self.client = Channel(CLIENT)
        self.channels: dict[int, Channel] = {CLIENT: self.client}
        self.commands: list[core.Command] = []
        self.stage: Stage | None = None
        self.over = False
        self.clogged: set[int] = set()
        """Links with more waiting to be sent than they should have."""
        self.flow_changed: Callable[[int, bool], object] = _ignore
        """Told of links that clog and drain, beside what is always done."""
        self._dialling: dict[int, core.Origin] = {}
        self._next_link = 1

    def start(self) -> list[core.Command]:
        """The commands to begin with."""
        self.timer(limits.HEAD_TIMEOUT)
        if self.listener == "proxy":
            self.stage = HttpStage(self, Place(None, 0, tls=False, explicit=True))
        else:
            self.enter(self.state.dialled_name(self.address), self.port)
        return self._flush()

    def enter(self, name: str | None, port: int, *, connect: Attempt | None = None) -> None:
        """Begin to talk to the client about `name`:`port`. `connect`: it asked by CONNECT, and was allowed."""
        decision = self.state.connect(name, port) if name else None
        rule = decision.rule if decision and decision.allow else None
        if name and rule and rule.tls == "tunnel" and port != limits.TLS_PORT:
            self.stage = TunnelStage(self, connect or self.attempt(name, port), rule, b"", connect is not None)
            return
        if connect is not None:
            self.commands.append(core.Write(CLIENT, b"HTTP/1.1 200 Connection established\r\n\r\n"))
        if port == limits.HTTP_PORT:
            self.stage = HttpStage(self, Place(name, port, tls=False))
        else:
            self.stage = HelloStage(self, name, port)

    def attempt(self, host: str = "", port: int = 0) -> Attempt:
        return Attempt(self.listener, host, port)

    def handle(self, event: core.Event) -> list[core.Command]:
        """Take one event; the commands to carry out, in order."""
        if self.over and not isinstance(event, (core.Spliced, core.Judged)):
            return []
        match event:
            case core.Received(link, data):
                self._received(link, data)
            case core.Ended(link) | core.Lost(link):
                self._gone(link, lost=isinstance(event, core.Lost))
            case core.Dialled(link, channel):
                self._dialled(link, channel)
            case core.DialFailed(link, reason, detail):
                self.drop(link)
                self._stage.failed(link, reason, detail)
            case core.Clogged(link) | core.Drained(link):
                self._flow(link, clogged=isinstance(event, core.Clogged))
            case core.Again():
                self._stage.drained()
            case core.Expired():
                self._stage.expired()
            case core.Judged():
                self._stage.judged()
            case core.Told(wait):
                getattr(self._stage, "told", _ignore)(wait)
            case core.Spliced(up, down, why):
                getattr(self._stage, "spliced", _ignore)(up, down, why)
        return self._flush()

    @property
    def _stage(self) -> Stage:
        if self.stage is None:
            raise RuntimeError("the conversation has not started")
        return self.stage

    def feed(self, data: bytes | bytearray | memoryview) -> None:
        """Client bytes that arrived before the present stage began."""
        if data:
            self._received(CLIENT, data)

    def _received(self, link: int, data: bytes | bytearray | memoryview) -> None:
        channel = self.channels.get(link)
        if channel is None:
            return
        was_up = channel.established
        try:
            plain = channel.receive(data)
        except TlsFailed as broken:
            self._tls_failed(link, str(broken))
            return
        if channel.established and not was_up and link != CLIENT:
            self._stage.dialled(link)
        if len(plain):
            self._stage.received(link, plain)
        if channel.ended and link in self.channels:
            self._gone(link, lost=False)

    def _tls_failed(self, link: int, why: str) -> None:
        if link == CLIENT:
            self.finish(why)
            return
        channel = self.channels[link]
        self._send(channel)
        self.drop(link)
        self.commands.append(core.Close(link))
        reason = reasons.UPSTREAM_FAILED if channel.established else reasons.UPSTREAM_TLS
        self._stage.failed(link, reason, why)

    def _gone(self, link: int, *, lost: bool) -> None:
        channel = self.channels.get(link)
        if channel is None:
            return
        if link == CLIENT and (lost or self.client.secure):
            # With TLS a client that stops sending has left: nobody half-closes there.
            self.finish("the client left")
            return
        if link != CLIENT:
            self.abort(link)
            if not channel.established:
                self._stage.failed(link, reasons.UPSTREAM_TLS, "the connection ended during the TLS handshake")
                return
        self._stage.ended(link, truncated=lost or (channel.secure and not channel.ended))

    def _dialled(self, link: int, pooled: Channel | None) -> None:
        origin = self._dialling.pop(link, None)
        if origin is None or link not in self.channels:
            self.commands.append(core.Abort(link))
        elif pooled is not None:
            pooled.link = link
            self.channels[link] = pooled
            self._stage.dialled(link)
        elif origin.tls and origin.ssh is None:
            # The stage hears of the link once the server has proved its name.
            self.timer(limits.HANDSHAKE_TIMEOUT)
            self.channels[link].secure_client(self.state.client_tls(origin), origin.host)
        else:
            self._stage.dialled(link)

    def _flow(self, link: int, *, clogged: bool) -> None:
        """What is slow on one side holds back the other sides."""
        if link not in self.channels:
            return
        (self.clogged.add if clogged else self.clogged.discard)(link)
        for other in self.channels:
            if (other == CLIENT) != (link == CLIENT):
                self.commands.append(core.Pause(other) if clogged else core.Resume(other))
        if link == CLIENT and not clogged:
            self._stage.drained()
        self.flow_changed(link, clogged)

    # What stages ask for

    def dial(self, origin: core.Origin, *, fresh: bool = False) -> int:
        """Ask for a link to `origin`; `dialled` or `failed` follows, TLS handshake included."""
        link = self._next_link
        self._next_link += 1
        self.channels[link] = Channel(link)
        self._dialling[link] = origin
        self.commands.append(core.Dial(link, origin, fresh))
        return link

    def judge(self) -> int:
        """Ask for a link to a judge of pushes; `dialled` or `failed` follows."""
        link = self._next_link
        self._next_link += 1
        self.channels[link] = Channel(link)
        self._dialling[link] = core.Origin("", 0, tls=False)
        self.commands.append(core.Judge(link))
        return link

    def hold(self, link: int, held: bool) -> None:
        """Read a link no more, or again."""
        self.commands.append(core.Pause(link) if held else core.Resume(link))

    def abort(self, link: int) -> None:
        """Forget a link and end it."""
        if self.drop(link):
            self.commands.append(core.Abort(link))

    def drop(self, link: int) -> bool:
        """Forget a link; whether there was one. A client held back because of it may go on."""
        if self.channels.pop(link, None) is None:
            return False
        if link in self.clogged:
            self.clogged.discard(link)
            self.commands.append(core.Resume(CLIENT))
        return True

    def release(self, link: int, origin: core.Origin) -> None:
        """Give an idle link to whoever needs one to the same origin next."""
        channel = self.channels[link]
        if self.drop(link):
            self.commands.append(core.Release(link, origin, channel))

    def timer(self, seconds: float | None, *, idle: bool = False) -> None:
        self.commands.append(core.Timer(seconds, idle))

    def alert(self, description: int) -> None:
        """End a connection whose TLS has not begun with a fatal alert."""
        self.commands.append(core.Write(CLIENT, clienthello.alert(description)))
        self.finish("")

    def cut(self, why: str) -> None:
        """End the conversation in a way the client cannot take for an orderly end."""
        if self.over:
            return
        self._send(self.client)
        self.finish(why, farewell=False)

    def finish(self, why: str, *, farewell: bool = True) -> None:
        """End the conversation: everything upstream at once, the client after what waits has been sent."""
        if self.over:
            return
        self.over = True
        if self.stage is not None:
            self.stage.stop(why)
        for link in [link for link in self.channels if link != CLIENT]:
            self.abort(link)
        if farewell:
            self.client.finish()
        self._send(self.client)
        self.commands += [core.Timer(None), core.Close(CLIENT)]

    def _send(self, channel: Channel) -> None:
        for piece in channel.take():
            self.commands.append(core.Write(channel.link, piece))

    def _flush(self) -> list[core.Command]:
        if not self.over:
            for channel in self.channels.values():
                self._send(channel)
        out, self.commands = self.commands, []
        return out


def _ignore(*_: object) -> None:
    """A tunnel's end after its conversation's, or news for a stage that waits for none."""
