"""The first bytes of a connection that may be TLS: read the name, judge it, then begin to intercept, tunnel or refuse.

The name in the hello must be granted and be the one the connection is for (the synthetic address dialled, or CONNECT).
On 443 only TLS goes on; on other ports what is not TLS is taken for plain HTTP. A refusal is a clean TLS alert, and
nothing goes up before the decision. An encrypted hello is refused in a tunnel, where its inner name would count; where we
are the server ourselves it means nothing, as for any server that does not decrypt it. Events in, commands out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from claude_bottle.gate import clienthello, limits
from claude_bottle.gate.http import HttpStage
from claude_bottle.gate.locate import Place
from claude_bottle.gate.tunnel_stage import TunnelStage
from claude_bottle.model import policy as reasons
from claude_bottle.model.hosts import BadHost, canonical_host

if TYPE_CHECKING:
    from claude_bottle.gate.conversation import Conversation


_HTTP1 = frozenset((b"http/1.1", b"http/1.0"))


class HelloStage:
    """Waits for the client's first bytes: a TLS hello with the right name, or plain HTTP where that may be."""

    def __init__(self, conversation: Conversation, name: str | None, port: int) -> None:
        self._conversation, self._name, self._port = conversation, name, port
        self._buffer = bytearray()

    def received(self, link: int, data: bytes | bytearray | memoryview) -> None:
        self._buffer += data
        conversation = self._conversation
        try:
            hello = clienthello.read(self._buffer)
        except clienthello.NotTls as odd:
            if self._port == limits.TLS_PORT or self._buffer[0] == 22:
                self._refuse(self._name or "", reasons.NOT_TLS, clienthello.DECODE_ERROR, str(odd))
            else:
                conversation.stage = HttpStage(conversation, Place(self._name, self._port, tls=False))
                conversation.feed(bytes(self._buffer))
            return
        except clienthello.NoName as nameless:
            self._refuse(self._name or "", reasons.NO_SNI, clienthello.HANDSHAKE_FAILURE, str(nameless))
            return
        if hello is not None:
            self._judge(hello)

    def _judge(self, hello: clienthello.Hello) -> None:
        conversation = self._conversation
        try:
            name = canonical_host(hello.name)
        except BadHost as bad:
            said = hello.name.decode("ascii", "backslashreplace")
            self._refuse(said, reasons.BAD_HOST, clienthello.UNRECOGNIZED_NAME, bad.reason)
            return
        decision = conversation.state.connect(name, self._port)
        if not decision.allow or decision.rule is None:
            self._refuse(name, decision.reason, clienthello.UNRECOGNIZED_NAME)
        elif name != self._name:
            self._refuse(name, reasons.NAME_MISMATCH, clienthello.ACCESS_DENIED, f"dialled {self._name}")
        elif decision.rule.tls == "tunnel" and hello.encrypted:
            self._refuse(name, reasons.NO_SNI, clienthello.HANDSHAKE_FAILURE, "an encrypted hello in a tunnel")
        elif decision.rule.tls == "tunnel":
            attempt = conversation.attempt(name, self._port)
            conversation.stage = TunnelStage(conversation, attempt, decision.rule, bytes(self._buffer), False)
        elif hello.protocols and _HTTP1.isdisjoint(hello.protocols):
            reason = reasons.UPGRADE_REFUSED if b"h2" in hello.protocols else reasons.NOT_HTTP
            self._refuse(name, reason, clienthello.NO_APPLICATION_PROTOCOL, "the client does not offer HTTP/1 (ALPN)")
        elif conversation.state.authority is None:
            raise RuntimeError("an inspected rule without a certificate authority")
        else:
            conversation.client.secure_server(conversation.state.authority.context(name))
            conversation.stage = HttpStage(conversation, Place(name, self._port, tls=True))
            conversation.feed(bytes(self._buffer))

    def _refuse(self, host: str, reason: str, description: int, detail: str = "") -> None:
        attempt = self._conversation.attempt(host, self._port)
        self._conversation.commands.append(attempt.record(allow=False, reason=reason, detail=detail))
        self._conversation.alert(description)

    def ended(self, link: int, *, truncated: bool = False) -> None:
        self._conversation.finish("")

    def dialled(self, link: int) -> None:
        self._conversation.abort(link)

    def failed(self, link: int, reason: str, detail: str) -> None:
        self._conversation.finish(reason)

    def expired(self) -> None:
        self._conversation.finish("")

    def drained(self) -> None:
        """Nothing was held back."""

    def judged(self) -> None:
        """Nothing has been let through yet."""

    def stop(self, why: str) -> None:
        """Nothing was begun."""
