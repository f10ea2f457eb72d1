"""A request that becomes a WebSocket, where the rule says so: the handshake is judged like any request, both ways.

What is said afterwards is passed on as it comes: nobody reads it, but it counts against the budget, and it ends with the
grant (RFC 6455). Every other change of protocol is refused.
"""

from __future__ import annotations

import base64
import hashlib
from typing import TYPE_CHECKING

from claude_bottle.gate.body import ToEnd
from claude_bottle.gate.downward import response_head
from claude_bottle.gate.exchange import Exchange
from claude_bottle.gate.head import SWITCHED, options
from claude_bottle.gate.locate import Refusal
from claude_bottle.model import policy as reasons

if TYPE_CHECKING:
    from claude_bottle.gate.head import Headers, Request, Response

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455 §1.3


def asks_for(request: Request) -> bool:
    """Whether it asks to become a WebSocket. Refusal for any other protocol, and for what asks in another way."""
    wanted = [value.strip().lower() for name, value in request.headers if name == b"upgrade"]
    if not wanted and not any(name == b"http2-settings" for name, _ in request.headers):
        return False
    keys = [value for name, value in request.headers if name == b"sec-websocket-key"]
    versions = [value for name, value in request.headers if name == b"sec-websocket-version"]
    sound = (
        wanted == [b"websocket"] and b"upgrade" in options(request.headers) and request.method == "GET"
        and not request.old and request.length is None and not request.chunked and len(keys) == 1 and versions == [b"13"]
        and not any(name == b"http2-settings" for name, _ in request.headers)
    )  # fmt: skip
    if not sound:
        raise Refusal(reasons.UPGRADE_REFUSED)
    return True


class WebSocket(Exchange):
    """The handshake, and after the server's 101 whatever either side sends. A server that declines answers as usual."""

    websocket = True
    _switched = False

    @property
    def takes_body(self) -> bool:
        return self._switched

    @property
    def outlives_client(self) -> bool:
        return False

    def client_received(self, data: bytes | bytearray | memoryview) -> bytes:
        if data and self._afford(len(data)):
            self._attempt.up += len(data)
            self._upstream.write(data)
        return b""

    def _begin_down(self, response: Response) -> None:
        if response.status != SWITCHED:
            super()._begin_down(response)
            return
        if not self._agreed(response.headers):
            self.failed(reasons.UPSTREAM_FAILED, "the server switched to something that was not asked for")
            return
        self._response, self._down_reader, self._switched = response, ToEnd(), True
        self.request.keep = False
        self._conversation.client.write(response_head(response, self._secrets, chunked=False, keep=True))
        self.client_received(self._stage.take_buffer())

    def _agreed(self, headers: Headers) -> bool:
        """Whether the server has read this very handshake."""
        said = dict(headers)
        key = next(value for name, value in self.request.headers if name == b"sec-websocket-key")
        proof = base64.b64encode(hashlib.sha1(key.strip() + _GUID, usedforsecurity=False).digest())
        switched = said.get(b"upgrade", b"").lower() == b"websocket" and b"upgrade" in options(headers)
        return switched and said.get(b"sec-websocket-accept", b"").strip() == proof
