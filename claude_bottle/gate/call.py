"""A request of the gate's own: to an origin that was judged, for a conversation, with the answer coming back to the caller.

Nobody's bytes pass through here unread: the head is ours, the body is what the caller writes, the answer goes to the caller
piece by piece. Always on a connection of its own, which ends with it. Redirects are answers like any other.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from claude_bottle.gate import carried
from claude_bottle.gate.body import BadBody, ToEnd, reader
from claude_bottle.gate.head import BadHead, Headers, find_end, parse_response, sent_parser, write_head

if TYPE_CHECKING:
    from claude_bottle.gate import core
    from claude_bottle.gate.body import Reader
    from claude_bottle.gate.conversation import Conversation

Took = Callable[[bytes], object]
Done = Callable[[int, str], object]


class Call:
    """`took` gets the body of a 200, piece by piece; `done` is called once, with the status, or 0 and why there is none.
    `body`: sent with the head, None for none; `more`: how many bytes of it the caller will `write`, once `is_ready`."""

    def __init__(
        self, conversation: Conversation, origin: core.Origin, target: bytes, headers: Headers, took: Took, done: Done,
        *, body: bytes | None = None, more: int = 0,
    ) -> None:  # fmt: skip
        self._conversation, self._origin, self._took, self._done = conversation, origin, took, done
        default = 443 if origin.tls else 80
        host = origin.host if origin.port == default else f"{origin.host}:{origin.port}"
        framing: Headers = [] if body is None else [(b"content-length", b"%d" % (len(body) + more))]
        fields: Headers = [(b"host", host.encode()), *headers, *framing, (b"connection", b"close")]
        method = "GET" if body is None else "POST"
        self._first = write_head(b"%s %s HTTP/1.1\r\n" % (method.encode(), target), fields) + (body or b"")
        self._method, self._parser = method, sent_parser(method)
        self._buffer = bytearray()
        self._reader: Reader | None = None
        self._status = 0
        self.is_ready = self.over = False
        self.up = self.down = 0
        self.link = conversation.dial(origin, fresh=True)

    def ready(self) -> None:
        """The link is up, its TLS included."""
        self.is_ready = True
        first, self._first = self._first, b""
        self.write(first)

    def write(self, data: bytes) -> None:
        if not self.is_ready:
            self._first += data  # the caller holds back whoever sends it; this came before that
        elif not self.over and self.link in self._conversation.channels:
            if not self._conversation.state.budget.takes(len(data)):
                self.fail("more bytes than the budget has left")
                return
            self.up += len(data)
            self._conversation.channels[self.link].write(data)

    def received(self, data: bytes) -> None:
        if self.over:
            return
        self.down += len(data)
        try:
            if self._reader is None:
                self._buffer += data
                data = self._read_heads()
                if self._reader is None:
                    return
            for piece in self._reader.feed(data):
                if self._status == 200:
                    self._took(bytes(piece))
                if self.over:
                    return
        except BadHead as bad:
            self.fail(f"the head of its answer: {bad}")
        except BadBody as bad:
            self.fail(f"the body of its answer: {bad}")
        else:
            if self._reader is not None and self._reader.done:
                self._end(self._status, "")

    def ended(self, *, truncated: bool) -> None:
        if isinstance(self._reader, ToEnd) and not truncated:
            self._end(self._status, "")
        else:
            self.fail("it ended the connection before its answer was whole")

    def fail(self, why: str) -> None:
        self._end(0, why)

    def drop(self) -> None:
        """Nobody wants the answer any more."""
        if not self.over:
            self.over = True
            self._conversation.abort(self.link)

    def _read_heads(self) -> bytes:
        """What follows the final head; the body's reader is made then."""
        while (end := find_end(self._buffer, 0)) is not None:
            raw = bytes(self._buffer[:end])
            del self._buffer[:end]
            response = parse_response(raw, self._parser, self._method)
            if response.status < 200:
                continue
            if self._origin.ssh and (why := carried.problem(response)):
                self.fail(why)
                return b""
            self._status = response.status
            encoded = any(name == b"content-encoding" and value.lower() != b"identity" for name, value in response.headers)
            if encoded:
                raise BadHead("it is compressed, which was not asked for")
            self._reader = reader(response.length, response.chunked, response.parser, to_end=response.to_end)
            rest = bytes(self._buffer)
            self._buffer.clear()
            return rest
        return b""

    def _end(self, status: int, why: str) -> None:
        if not self.over:
            self.drop()
            self._done(status, why)
