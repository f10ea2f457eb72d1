"""The head of a response as it goes down: written anew, without what is the connection's own or a secret's echo. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from claude_bottle.gate import inject
from claude_bottle.gate.head import SWITCHED, end_to_end, write_head

if TYPE_CHECKING:
    from claude_bottle.gate.head import Response

# What a response may not say to the bottle: offers of other protocols and of other places for this name.
_NOT_DOWN = frozenset((b"alt-svc",))


def response_head(response: Response, secrets: tuple[bytes, ...], *, chunked: bool, keep: bool) -> bytes:
    """`chunked`: how its body follows; `keep`: whether another request may. `secrets` are what must not go down."""
    headers = [pair for pair in end_to_end(response.headers) if pair[0] not in _NOT_DOWN]
    headers = inject.redact(headers, secrets)
    if response.status == SWITCHED:
        headers += [(b"connection", b"Upgrade"), (b"upgrade", b"websocket")]
    elif chunked:
        headers.append((b"transfer-encoding", b"chunked"))
    elif response.status != 204:
        headers += [pair for pair in response.headers if pair[0] == b"content-length"]
    if not keep and response.status != SWITCHED:
        headers.append((b"connection", b"close"))
    phrase = inject.redact([(b"", response.phrase)], secrets)[0][1]
    return write_head(b"HTTP/1.1 %d %s\r\n" % (response.status, phrase), headers)
