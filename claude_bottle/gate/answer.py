"""Whole HTTP responses of the gate's own. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterable

_PHRASES = {
    200: b"OK", 202: b"Accepted", 204: b"No Content", 400: b"Bad Request", 403: b"Forbidden", 404: b"Not Found",
    405: b"Method Not Allowed", 406: b"Not Acceptable", 413: b"Content Too Large", 415: b"Unsupported Media Type",
    429: b"Too Many Requests", 431: b"Request Header Fields Too Large", 502: b"Bad Gateway", 503: b"Service Unavailable",
}  # fmt: skip


def answer(
    status: int, body: dict[str, object] | None, *, head_only: bool = False, close: bool = False,
    headers: Iterable[tuple[bytes, bytes]] = (),
) -> bytes:  # fmt: skip
    """A whole response, with a JSON body or none."""
    text = json.dumps(body).encode() + b"\n" if body is not None else b""
    kind = b"application/json" if body is not None else b""
    return response(status, kind, text, head_only=head_only, close=close, headers=headers)


def response(
    status: int, kind: bytes, text: bytes, *, head_only: bool = False, close: bool = False,
    headers: Iterable[tuple[bytes, bytes]] = (),
) -> bytes:  # fmt: skip
    """A whole response with a body of the content type `kind`, or none."""
    fields = [(b"content-type", kind)] if kind else []
    fields += [(b"content-length", b"%d" % len(text))] if status != 204 else []
    fields += [(b"cache-control", b"no-store"), *headers, *([(b"connection", b"close")] if close else [])]
    head = b"HTTP/1.1 %d %s\r\n" % (status, _PHRASES[status]) + b"".join(b"%s: %s\r\n" % pair for pair in fields) + b"\r\n"
    return head if head_only else head + text
