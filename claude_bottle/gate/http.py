"""HTTP/1 with the bottle's client: requests are read, located, judged and answered or handed to an exchange, one by one.

Each request on a kept connection goes through all of it afresh, once the one before is answered. Whatever is refused is
refused before a byte goes up. Logic only: no sockets, no clock of its own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from claude_bottle.gate import core, limits
from claude_bottle.gate.core import CLIENT
from claude_bottle.gate.dns import INTERNAL_NAME
from claude_bottle.gate.exchange import Exchange
from claude_bottle.gate.head import BadHead, Request, find_end, parse_request
from claude_bottle.gate.inject import ForeignCredential
from claude_bottle.gate.local import Local
from claude_bottle.gate.locate import Place, Refusal, connect_target, locate
from claude_bottle.gate.push import Push, is_push
from claude_bottle.gate.websocket import WebSocket, asks_for
from claude_bottle.model import policy as reasons
from claude_bottle.model.urlpath import BadTarget, Target, canonical_target

if TYPE_CHECKING:
    from claude_bottle.gate.audit import Attempt
    from claude_bottle.gate.conversation import Conversation
    from claude_bottle.gate.desk import Wait


class HttpStage:
    """The HTTP side of a conversation, plain or inside the TLS we ended."""

    def __init__(self, conversation: Conversation, place: Place) -> None:
        self.conversation, self._place = conversation, place
        self._buffer = bytearray()
        self._checked = 0
        self._reading = False
        self._answered = 0  # bytes of our own answers in this turn
        self._exchange: Exchange | Local | Push | None = None
        self._idle: tuple[core.Origin, int, float] | None = None  # an upstream link kept for the next request

    # Events

    def received(self, link: int, data: bytes | bytearray | memoryview) -> None:
        exchange = self._exchange
        if link != CLIENT:
            if not isinstance(exchange, Local | None) and exchange.owns(link):
                exchange.link_received(link, data)
            else:
                self._forget_idle(link)  # nobody asked for this
            return
        if exchange is not None and exchange.takes_body:
            self._buffer += exchange.client_received(data)
            self._act(exchange)
            return
        if exchange is None and not self._buffer:
            self.conversation.timer(limits.HEAD_TIMEOUT)
        self._buffer += data
        if exchange is None:
            self._next()
        else:
            self._hold_back()

    def ended(self, link: int, *, truncated: bool = False) -> None:
        exchange = self._exchange
        if link == CLIENT:
            if exchange is None or not exchange.outlives_client:
                self.conversation.finish("the client left")
            else:
                exchange.request.keep = False  # half-closed: it still wants this answer
        elif not isinstance(exchange, Local | None) and exchange.owns(link):
            exchange.link_ended(link, truncated=truncated)
        else:
            self._forget_idle(link)

    def dialled(self, link: int) -> None:
        if not isinstance(self._exchange, Local | None) and self._exchange.owns(link):
            self._exchange.link_ready(link)
        else:
            self.conversation.abort(link)

    def failed(self, link: int, reason: str, detail: str) -> None:
        if not isinstance(self._exchange, Local | None) and self._exchange.owns(link):
            self._exchange.failed(reason, detail)

    def drained(self) -> None:
        if self._exchange is None:
            self._next()

    def expired(self) -> None:
        if self._exchange is not None:
            self._exchange.expired()
        else:
            self.conversation.finish("timed out")

    def judged(self) -> None:
        """The policy has changed: a connection, or a kept upstream link, to a place that is not granted any more ends."""
        conversation, name, idle = self.conversation, self._place.name, self._idle
        if conversation.over:
            return
        if idle is not None and not conversation.state.granted(idle[0].host, idle[0].port):
            self._forget_idle(idle[1])
        if self._exchange is not None:
            self._exchange.judged()
        elif name not in (None, INTERNAL_NAME) and not conversation.state.granted(name or "", self._place.port):
            conversation.finish("it is not granted any more")

    def told(self, wait: Wait) -> None:
        """News for a request to the gate itself."""
        if isinstance(self._exchange, Local | Push):
            self._exchange.told(wait)

    def stop(self, why: str) -> None:
        if self._exchange is not None:
            self._exchange.stop(why)
        if self._idle is not None:
            origin, link, _ = self._idle
            if link in self.conversation.channels:
                self.conversation.release(link, origin)

    # Requests

    def take_buffer(self) -> bytes:
        """Client bytes that came before the exchange could use them."""
        data = bytes(self._buffer)
        self._buffer.clear()
        self.conversation.commands.append(core.Resume(CLIENT))
        return data

    def put_back(self, data: bytes) -> None:
        """Client bytes that belong to what comes after the body."""
        self._buffer += data

    def _next(self) -> None:
        """Deal with whatever complete requests have arrived, until one is under way."""
        if self._reading:
            return  # called from an answer given below: the loop goes on by itself
        self._reading = True
        self._answered = 0
        try:
            self._read_requests()
        finally:
            self._reading = False
        self._hold_back()

    def _hold_back(self) -> None:
        """A client that has sent more than can be dealt with now is not read until some of it has been."""
        if len(self._buffer) > limits.PIPELINE and not self.conversation.over:
            self.conversation.commands.append(core.Pause(CLIENT))

    def _read_requests(self) -> None:
        conversation = self.conversation
        while self._exchange is None and self._buffer and not conversation.over and conversation.stage is self:
            if CLIENT in conversation.clogged:
                return  # it does not read its answers: no further ones
            if self._answered > limits.HIGH_WATER:
                conversation.commands.append(core.Yield())  # what these come to must be seen before there are more
                return
            try:
                end = find_end(self._buffer, self._checked)
                if end is None:
                    self._checked = len(self._buffer)
                    return
                raw = bytes(self._buffer[:end])
                del self._buffer[:end]
                self._checked = 0
                request = parse_request(raw)
            except BadHead as bad:
                reason = reasons.TOO_LARGE if bad.too_large else reasons.BAD_REQUEST
                attempt = self.conversation.attempt(self._place.name or "", self._place.port)
                self._refuse(attempt, Refusal(reason, str(bad)), None)
                return
            self._take(request)

    def _take(self, request: Request) -> None:
        attempt = self.conversation.attempt(self._place.name or "", self._place.port)
        attempt.method = request.method
        try:
            if request.method == "CONNECT" and self._place.explicit:
                self._connect(request, attempt)
            else:
                self._judge(request, attempt)
        except Refusal as refusal:
            self._refuse(attempt, refusal, request)

    def _connect(self, request: Request, attempt: Attempt) -> None:
        host, port = connect_target(request, attempt)
        if not (decision := self.conversation.state.connect(host, port)).allow:
            raise Refusal(decision.reason)
        rest = self.take_buffer()
        self.conversation.timer(limits.HEAD_TIMEOUT)
        self.conversation.enter(host, port, connect=attempt)
        self.conversation.feed(rest)

    def _judge(self, request: Request, attempt: Attempt) -> None:
        state, place = self.conversation.state, self._place
        host, port, raw_target = locate(place, request, attempt, state.connect)
        try:
            target = canonical_target(raw_target)
        except BadTarget as bad:
            raise Refusal(reasons.BAD_REQUEST, bad.reason) from None
        attempt.path = target.path
        websocket = asks_for(request)
        if host == INTERNAL_NAME and port == 80 and not place.tls and not websocket:
            self._own(request, target)
            return
        signs = state.injector.signs_in(request.headers) if state.once else ()
        asked = (host, port, request.method, target.path)
        decision = state.request(*asked, tls=place.tls, query=target.query, signs_in=signs, websocket=websocket)
        attempt.git = decision.git
        if not decision.allow or decision.rule is None:
            raise Refusal(decision.reason)
        if decision.max_body is not None and (request.length or 0) > decision.max_body:
            raise Refusal(reasons.BODY_TOO_LARGE, f"a body of {request.length} bytes")
        # The proxy's own sign-in is none of the upstream's business and means nothing to us (identity is the channel).
        headers = [pair for pair in request.headers if not (place.explicit and pair[0] == b"proxy-authorization")]
        try:
            headers, secrets = state.injector.apply(
                host, port, tls=place.tls, rule=decision.rule, headers=headers, target=raw_target, git=bool(decision.git)
            )
        except ForeignCredential as foreign:
            raise Refusal(foreign.reason, foreign.what) from None
        headers, origin = state.money.measured(attempt, headers), core.Origin(host, port, place.tls, decision.rule.ssh)
        if is_push(attempt, state):
            self._exchange = push = Push(self, request, attempt, origin, headers, target.path, secrets, decision.rule)
            push.begin()
            return
        self.conversation.commands += [attempt.record(allow=True, rule=decision.rule), *state.use(decision.rule)]
        kind = WebSocket if websocket else Exchange
        self._begin(kind(self, request, attempt, origin, headers, target.wire, secrets, decision.rule, decision.max_body))

    # Answers

    def _own(self, request: Request, target: Target) -> None:
        """A request to the gate itself."""
        self.conversation.timer(limits.HEAD_TIMEOUT)
        local = self._exchange = Local(self, request, target)
        early = self.take_buffer()
        if request.expects and not early and local.takes_body:
            self.conversation.client.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        self.put_back(local.client_received(early) if local.takes_body else early)
        self._act(local)

    def _act(self, exchange: Exchange | Local | Push) -> None:
        if isinstance(exchange, Local) and exchange is self._exchange and exchange.request_done:
            exchange.act()

    def _begin(self, exchange: Exchange) -> None:
        conversation, self._exchange = self.conversation, exchange
        conversation.timer(None)  # dial and handshake have their own deadlines
        idle, self._idle = self._idle, None
        if idle is not None and idle[1] in conversation.channels:
            if idle[0] == exchange.origin and conversation.state.clock() - idle[2] < limits.REUSE_WITHIN:
                exchange.use(idle[1])
                return
            conversation.abort(idle[1])
        exchange.dial()

    def exchange_done(self, *, keep: bool, idle_link: int | None) -> None:
        """The exchange has ended well; `idle_link` may serve the next request."""
        exchange, self._exchange = self._exchange, None
        conversation = self.conversation
        if isinstance(exchange, Exchange) and idle_link is not None:
            self._idle = (exchange.origin, idle_link, conversation.state.clock())
        self._proceed(keep=keep)

    def answer_own(self, response: bytes, *, keep: bool) -> None:
        """Give the client an answer of our own, and go on if `keep`."""
        self._exchange = None
        self._answered += len(response)
        self.conversation.client.write(response)
        self._proceed(keep=keep)

    def _proceed(self, *, keep: bool) -> None:
        conversation = self.conversation
        if not keep:
            conversation.finish("")
            return
        conversation.timer(limits.HEAD_TIMEOUT if self._buffer else limits.IDLE_BETWEEN)
        conversation.commands.append(core.Resume(CLIENT))
        self._next()

    def _refuse(self, attempt: Attempt, refusal: Refusal, request: Request | None) -> None:
        self.conversation.commands.append(attempt.record(allow=False, reason=refusal.reason, detail=refusal.detail))
        self.answer_refusal(attempt, refusal.reason, request)

    def answer_refusal(self, attempt: Attempt, reason: str, request: Request | None) -> None:
        """Tell the client; the connection goes on only if where the next request begins is beyond doubt."""
        head_only, keep = request is not None and request.method == "HEAD", _keeps(request)
        self.answer_own(attempt.refusal(reason, head_only=head_only, close=not keep), keep=keep)

    def _forget_idle(self, link: int) -> None:
        if self._idle is not None and self._idle[1] == link:
            self._idle = None
        self.conversation.abort(link)


def _keeps(request: Request | None) -> bool:
    """Whether the connection may go on after an answer of our own: the request was sound and had no body."""
    return request is not None and request.keep and not request.has_body
