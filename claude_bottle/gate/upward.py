"""The head of a request as it goes up: written anew from what was judged, without what could change it further on. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from claude_bottle.gate.head import Headers, Request, end_to_end, write_head

if TYPE_CHECKING:
    from claude_bottle.gate import core

# Fields by which some servers let a client change what was judged: method, host or path. Compared with dashes.
_OVERRIDES = frozenset(
    (
        b"x-http-method-override", b"x-http-method", b"x-method-override", b"x-original-url", b"x-rewrite-url",
        b"x-original-host", b"x-forwarded-host", b"x-forwarded-server", b"x-forwarded-proto", b"x-forwarded-port",
        b"x-forwarded-prefix", b"x-host", b"forwarded",
    )
)  # fmt: skip
# With these some servers overlook a body and would take its bytes for the next request ("CL.0"), one that nobody judged.
_BODY_OVERLOOKED = ("GET", "HEAD", "OPTIONS", "DELETE")


def request_head(
    request: Request, origin: core.Origin, headers: Headers, target: bytes, *, websocket: bool = False
) -> bytes:
    """The head that goes up, written anew from judged values. `websocket`: it asks to become one."""
    default = 443 if origin.tls else 80
    host = origin.host if origin.port == default else f"{origin.host}:{origin.port}"
    out: Headers = [(b"host", host.encode())]
    out += [
        (name, value) for name, value in end_to_end(headers) if name != b"host" and name.replace(b"_", b"-") not in _OVERRIDES
    ]
    if request.chunked:
        out.append((b"transfer-encoding", b"chunked"))
    elif request.length is not None:
        out.append((b"content-length", b"%d" % request.length))
    if websocket:
        out += [(b"connection", b"Upgrade"), (b"upgrade", b"websocket")]
    elif is_last(request):
        out.append((b"connection", b"close"))
    return write_head(b"%s %s HTTP/1.1\r\n" % (request.method.encode(), target), out)


def is_last(request: Request) -> bool:
    """Whether the server is told to read no further request after this one (RFC 9112 §9.6)."""
    return request.has_body and request.method in _BODY_OVERLOOKED
