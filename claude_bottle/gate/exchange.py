"""One allowed request on its way up, and its response on the way back.

The head is written anew from judged values, bodies are streamed in both directions as they come, with nothing held back
and nothing kept. A response that breaks the rules ends as 502 while nothing of it has gone down, and as a cut connection
after that; either way the upstream link is not used again. Redirects are passed on like any response, never followed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from claude_bottle.gate import carried, limits
from claude_bottle.gate.body import LAST_CHUNK, BadBody, Chunked, Counted, ToEnd, chunk, reader
from claude_bottle.gate.downward import response_head
from claude_bottle.gate.head import (
    SWITCHED,
    BadHead,
    Headers,
    Request,
    Response,
    Switched,
    find_end,
    parse_response,
    sent_parser,
)
from claude_bottle.gate.upward import is_last, request_head
from claude_bottle.model import policy as reasons
from claude_bottle.model.git_request import PACK
from claude_bottle.model.pktline import Calmed

if TYPE_CHECKING:
    from claude_bottle.gate import core
    from claude_bottle.gate.audit import Attempt
    from claude_bottle.gate.body import Reader
    from claude_bottle.gate.http import HttpStage
    from claude_bottle.gate.tls import Channel
    from claude_bottle.model.policy import Rule

_SAFE_TO_REPEAT = ("GET", "HEAD", "OPTIONS")


class Exchange:
    """`link` is the upstream link in use, `rule` what allowed it, `max_body` how long its body may be. The stage hears
    `exchange_done` once, unless the conversation ends."""

    websocket = False

    def __init__(
        self, stage: HttpStage, request: Request, attempt: Attempt, origin: core.Origin, headers: Headers,
        target: bytes, secrets: tuple[bytes, ...], rule: Rule, max_body: int | None = None,
    ) -> None:  # fmt: skip
        self._stage, self.request, self._attempt, self.origin, self._rule = stage, request, attempt, origin, rule
        self._conversation = stage.conversation
        self._head = request_head(request, origin, headers, target, websocket=self.websocket)
        self._room = max_body
        self._secrets = secrets
        self._started = self._conversation.state.clock()
        self._up_reader: Reader = Chunked(request.parser) if request.chunked else Counted(request.length or 0)
        self.ready = False
        self._reused = False
        self._down_buffer = bytearray()
        self._down_checked = 0
        self._down_parser = sent_parser(request.method, websocket=self.websocket)
        self._response: Response | None = None
        self._down_reader: Reader = Counted(0)
        self._down_chunked = False
        self._recorded = False
        self._calmed = Calmed() if attempt.git is not None and attempt.git.step == PACK else None
        self.link = 0

    # Going up

    def dial(self, *, fresh: bool = False) -> None:
        self.ready = self._reused = False
        self.link = self._conversation.dial(self.origin, fresh=fresh)
        self._reused = not fresh

    def use(self, link: int) -> None:
        """Send the request on a link that is already up."""
        self.link, self._reused = link, True
        self.link_ready(link)

    @property
    def takes_body(self) -> bool:
        return self.ready and not self._up_reader.done

    @property
    def outlives_client(self) -> bool:
        """Whether a client that will send nothing more may still want the answer."""
        return self._up_reader.done

    @property
    def request_done(self) -> bool:
        return self._up_reader.done

    def owns(self, link: int) -> bool:
        return link == self.link

    def link_ready(self, link: int) -> None:
        self.ready = True
        self._conversation.timer(limits.IDLE_WITHIN, idle=True)
        if not self._afford(len(self._head)):
            return
        self._upstream.write(self._head)
        self._attempt.up += len(self._head)
        if not self.request_done:
            early = self._stage.take_buffer()
            if not early and self.request.expects:
                self._conversation.client.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            self._stage.put_back(self.client_received(early))

    @property
    def _upstream(self) -> Channel:
        return self._conversation.channels[self.link]

    def client_received(self, data: bytes | bytearray | memoryview) -> bytes:
        """Body bytes from the client; what came after the body is given back."""
        upstream, body = self._upstream, self._up_reader
        try:
            for piece in body.feed(data):
                if not self._fits(len(piece)) or not self._afford(len(piece)):
                    return b""
                self._attempt.up += len(piece)
                for part in chunk(piece) if self.request.chunked else (piece,):
                    upstream.write(part)
        except BadBody as bad:
            self._abandon(f"request body: {bad}")
            return b""
        if body.done and self.request.chunked:
            upstream.write(LAST_CHUNK)
        return body.rest if body.done else b""

    def _fits(self, count: int) -> bool:
        """Whether the body may have that many bytes more."""
        if self._room is None or count <= self._room:
            self._room = None if self._room is None else self._room - count
            return True
        self.failed(reasons.BODY_TOO_LARGE, "the body is larger than the rule allows", refused=True)
        return False

    def _afford(self, count: int) -> bool:
        """Whether the budget has room for that many bytes. Where it has not, the server is left with what it has."""
        if self._conversation.state.budget.takes(count):
            return True
        self.failed(reasons.BUDGET_SPENT, "more bytes than the budget has left", refused=True)
        return False

    # Coming down

    def link_received(self, link: int, data: bytes | bytearray | memoryview) -> None:
        self._attempt.down += len(data)
        if self._response is None:
            self._down_buffer += data
            if not self._read_head():
                return
            data = bytes(self._down_buffer)
            self._down_buffer.clear()
        self._pass_down(data)

    def _read_head(self) -> bool:
        """Read response heads from the buffer until the final one; whether it is there."""
        while True:
            try:
                end = find_end(self._down_buffer, self._down_checked)
                if end is None:
                    self._down_checked = len(self._down_buffer)
                    return False
                raw = bytes(self._down_buffer[:end])
                del self._down_buffer[:end]
                self._down_checked = 0
                response = parse_response(raw, self._down_parser, self.request.method, websocket=self.websocket)
            except BadHead as bad:
                reason = reasons.UPGRADE_REFUSED if isinstance(bad, Switched) else reasons.UPSTREAM_FAILED
                self.failed(reason, f"response head: {bad}")
                return False
            if self.origin.ssh and (why := carried.problem(response)):
                self._attempt.said = why
                self.failed(reasons.UPSTREAM_FAILED, why)
                return False
            if response.status >= 200 or response.status == SWITCHED:  # another interim answer says nothing the client needs
                self._begin_down(response)
                return not self._conversation.over

    def _begin_down(self, response: Response) -> None:
        self._response = response
        self._attempt.meter.began(response)
        if any(name == b"content-encoding" for name, _ in response.headers):
            self._calmed = None
        self._down_reader = reader(response.length, response.chunked, response.parser, to_end=response.to_end)
        self._down_chunked = (response.chunked or response.to_end) and not self.request.old
        if self.request.old or not self.request_done:
            self.request.keep = False  # where the next request would begin is not known, or the end marks the body's
        head = response_head(response, self._secrets, chunked=self._down_chunked, keep=self.request.keep)
        self._conversation.client.write(head)

    def _pass_down(self, data: bytes | bytearray | memoryview) -> None:
        client, body = self._conversation.client, self._down_reader
        try:
            for piece in body.feed(data):
                self._attempt.meter.read(piece)
                calm = self._calmed.feed(bytes(piece)) if self._calmed else piece
                for part in chunk(calm) if self._down_chunked else (calm,):
                    client.write(part)
        except BadBody as bad:
            self._cut(f"response body: {bad}")
            return
        if body.done:
            self._finish()

    def _finish(self) -> None:
        """The whole response has gone down."""
        response = self._response
        if self._down_chunked:
            self._conversation.client.write(LAST_CHUNK)
        self._record("")
        reusable = (
            response is not None and response.keep and not response.to_end and self.request_done and not is_last(self.request)
            and not self._down_reader.rest and self.link in self._conversation.channels
        )  # fmt: skip
        if not reusable:
            self._conversation.abort(self.link)
        keep = self.request.keep and self.request_done
        self._stage.exchange_done(keep=keep, idle_link=self.link if reusable else None)

    # Ends

    def link_ended(self, link: int, *, truncated: bool) -> None:
        """The upstream's end. `truncated`: a TLS link that ended without saying so."""
        if self._response is None:
            if (
                self._reused
                and not self._attempt.down
                and self.request.method in _SAFE_TO_REPEAT
                and not self.request.has_body
            ):
                self.dial(fresh=True)  # it had gone stale between two requests; nothing was lost by asking again
            else:
                self.failed(reasons.UPSTREAM_FAILED, "the server ended the connection without an answer")
        elif isinstance(self._down_reader, ToEnd) and not truncated:
            self._finish()
        else:
            self._cut("the server ended the connection in the middle of its answer")

    def failed(self, reason: str, detail: str, *, refused: bool = False) -> None:
        """No usable answer, or (`refused`) none that may still be had: say so while we can, else cut."""
        self._conversation.abort(self.link)
        if refused or (reason == reasons.ADDRESS_REFUSED and self._response is None):
            record = self._attempt.record(allow=False, reason=reason, detail=detail)
            self._conversation.commands.append(record)
        if self._response is not None:
            self._cut(detail)
            return
        self._record(f"{reason}: {detail}")
        if not self.request_done:
            self.request.keep = False
        self._stage.answer_refusal(self._attempt, reason, self.request)

    def expired(self) -> None:
        """The time for what it waits for is over."""
        if self.ready:
            self._conversation.finish("timed out")
        else:
            self.failed(reasons.UPSTREAM_FAILED, "the server did not finish its TLS handshake in time")

    def judged(self) -> None:
        """The policy has changed: what it does not grant any more ends here."""
        state, attempt, origin = self._conversation.state, self._attempt, self.origin
        asked = (origin.host, origin.port, self.request.method, attempt.path)
        if not state.stands(self._rule, *asked, tls=origin.tls, websocket=self.websocket):
            again = state.policy.request(*asked, tls=origin.tls, websocket=self.websocket)
            self.failed(again.reason or reasons.HOST_NOT_GRANTED, "it is not granted any more", refused=True)

    def _abandon(self, why: str) -> None:
        """The client's own body is broken: the upstream must not take what came for a whole request."""
        self._conversation.abort(self.link)
        self._record(why)
        self.request.keep = False
        if self._response is None:
            self._stage.answer_refusal(self._attempt, reasons.BAD_REQUEST, self.request)
        else:
            self._conversation.finish(why)

    def _cut(self, why: str) -> None:
        """End both sides in the middle of the response, so that the client cannot take it for a whole one."""
        self._record(why)
        self._conversation.cut(why)

    def stop(self, why: str) -> None:
        """The conversation ends."""
        self._record(why)

    def _record(self, why: str) -> None:
        if not self._recorded:
            self._recorded = True
            elapsed = self._conversation.state.clock() - self._started
            status = self._response.status if self._response else 0
            self._conversation.commands.append(self._attempt.traffic(elapsed, status=status, why=why))
