"""Message heads, read strictly: what two parsers could read differently is refused before anyone acts on it.

The bytes are checked here first (line ends, names, controls, framing headers), then h11 parses them, and what is sent on
is written anew from the parsed values. Framing is decided once, here, for both directions (RFC 9112 §6). Pure.
"""

from __future__ import annotations

import re

import h11

from claude_bottle.values import dataclass

MAX_HEAD = 64 * 1024
MAX_FIELDS = 256
SWITCHED = 101
Headers = list[tuple[bytes, bytes]]  # names in lower case, values as sent

_LENGTH = re.compile(rb"[0-9]{1,18}")
# A line of a field: a token, a colon at once, then no control but TAB. NUL, bare CR and DEL are all controls.
_FIELD = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+:[^\x00-\x08\x0a-\x1f\x7f]*")
# Other spellings of the framing fields: a gateway that maps dashes to underscores would take them for the real ones.
_LOOKALIKES = frozenset((b"content_length", b"transfer_encoding", b"content-length_", b"host_"))
# RFC 9110 §7.6.1, RFC 2616 §13.5.1, and what old proxies invented.
HOP_BY_HOP = frozenset(
    (
        b"connection", b"keep-alive", b"proxy-connection", b"proxy-authorization", b"proxy-authenticate", b"te",
        b"trailer", b"transfer-encoding", b"upgrade", b"http2-settings",
    )
)  # fmt: skip


class BadHead(ValueError):
    """Not a message we pass on. `too_large` when only its size is wrong."""

    def __init__(self, why: str, *, too_large: bool = False) -> None:
        super().__init__(why)
        self.too_large = too_large


class Switched(BadHead):
    """A 101 to what did not ask for it: the peer would speak something else from here on."""


@dataclass(slots=True)
class Request:
    """A parsed request head. `length` is the body's size; None together with `chunked` False means there is none."""

    method: str
    target: bytes
    headers: Headers
    old: bool  # HTTP/1.0
    length: int | None
    chunked: bool
    keep: bool
    expects: bool
    parser: h11.Connection

    @property
    def has_body(self) -> bool:
        return self.chunked or bool(self.length)


@dataclass(slots=True)
class Response:
    """A parsed response head. No length and not chunked: the body runs to the end of the connection (`to_end`)."""

    status: int
    phrase: bytes
    headers: Headers
    length: int | None
    chunked: bool
    to_end: bool
    keep: bool
    parser: h11.Connection


def find_end(buffer: bytearray, checked: int) -> int | None:
    """Where the head at the start of `buffer` ends (after its blank line); None while it is not complete.

    `checked` bytes were looked at before. A line feed without its carriage return is refused at once: a head that ends
    in bare line feeds would otherwise never end.
    """
    at = max(0, checked - 3)
    end = buffer.find(b"\r\n\r\n", at)
    stop = end + 4 if end >= 0 else len(buffer)
    feed = buffer.find(b"\n", at, stop)
    while feed >= 0:
        if feed == 0 or buffer[feed - 1] != 0x0D:
            raise BadHead("a line feed without carriage return")
        feed = buffer.find(b"\n", feed + 1, stop)
    if stop > MAX_HEAD:
        raise BadHead("the head is larger than 64 KiB", too_large=True)
    return stop if end >= 0 else None


def parse_request(raw: bytes) -> Request:
    """A whole request head, blank line included. Raises BadHead."""
    fields = _check_lines(raw)
    parser = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_HEAD + 1)
    parser.receive_data(raw)
    try:
        event = parser.next_event()
    except h11.RemoteProtocolError as bad:
        raise BadHead(str(bad)) from None
    if not isinstance(event, h11.Request):
        raise BadHead("not a request")
    headers: Headers = [(bytes(name), bytes(value)) for name, value in event.headers]
    if event.http_version not in (b"1.0", b"1.1"):
        raise BadHead("not HTTP/1.0 or 1.1")
    old = event.http_version == b"1.0"
    length, chunked = _framing(fields)
    if chunked and old:
        raise BadHead("chunked in HTTP/1.0")
    method = bytes(event.method).decode("ascii")
    if sum(name == b"host" for name, _ in headers) != 1 and not (method == "CONNECT" and old):
        raise BadHead("not exactly one Host")
    expectations = [value.lower() for name, value in headers if name == b"expect"]
    if expectations not in ([], [b"100-continue"]):
        raise BadHead("an expectation other than 100-continue")
    return Request(
        method=method, target=bytes(event.target), headers=headers, old=old, length=length, chunked=chunked,
        keep=not old and b"close" not in options(headers), expects=bool(expectations) and not old, parser=parser,
    )  # fmt: skip


def parse_response(raw: bytes, parser: h11.Connection, method: str, *, websocket: bool = False) -> Response:
    """A whole response head. `parser` has sent the request (see `sent_parser`). Raises BadHead."""
    fields = _check_lines(raw)
    if raw[8:13] == b" 101 " and not websocket:
        raise Switched("the server switched protocols unasked")
    parser.receive_data(raw)
    try:
        event = parser.next_event()
    except h11.RemoteProtocolError as bad:
        raise BadHead(str(bad)) from None
    if not isinstance(event, (h11.Response, h11.InformationalResponse)):
        raise BadHead("not a response")
    headers: Headers = [(bytes(name), bytes(value)) for name, value in event.headers]
    status = event.status_code
    length, chunked = _framing(fields)
    empty = status < 200 or status in (204, 304) or method == "HEAD"
    old = event.http_version < b"1.1"
    if chunked and old:
        raise BadHead("chunked in HTTP/1.0")
    return Response(
        status=status, phrase=bytes(event.reason), headers=headers, length=0 if empty else length,
        chunked=chunked and not empty, to_end=not empty and length is None and not chunked,
        keep=not old and b"close" not in options(headers), parser=parser,
    )  # fmt: skip


def sent_parser(method: str, *, websocket: bool = False) -> h11.Connection:
    """A parser for the responses to a request with `method`: h11 wants to know what was asked."""
    parser = h11.Connection(h11.CLIENT, max_incomplete_event_size=MAX_HEAD + 1)
    asked = [("host", "x"), *([("connection", "upgrade"), ("upgrade", "websocket")] if websocket else [])]
    parser.send(h11.Request(method=method, target="/", headers=asked))
    return parser


def options(headers: Headers) -> set[bytes]:
    """The options of all Connection fields, in lower case."""
    values = [value for name, value in headers if name in (b"connection", b"proxy-connection")]
    return {part.strip().lower() for value in values for part in value.split(b",")}


def end_to_end(headers: Headers) -> Headers:
    """The headers that belong to the message, not to this one connection; framing fields are left out too."""
    named = options(headers)
    drop = HOP_BY_HOP | {b"content-length", b"expect"}
    return [(name, value) for name, value in headers if name not in drop and name not in named]


def write_head(first: bytes, headers: Headers) -> bytes:
    """A head from its first line and its fields."""
    lines = [first]
    for name, value in headers:
        lines += (name, b": ", value, b"\r\n")
    lines.append(b"\r\n")
    return b"".join(lines)


def _check_lines(raw: bytes) -> Headers:
    """The fields as they stand there. h11 merges equal lengths into one, so the framing is judged by these."""
    lines = raw[:-4].split(b"\r\n")
    if len(lines) > MAX_FIELDS:
        raise BadHead("too many fields", too_large=True)
    first = lines[0]
    if not first or any(byte < 0x20 or byte == 0x7F for byte in first):
        raise BadHead("an empty first line or a control in it")
    for line in lines[1:]:
        if not _FIELD.fullmatch(line):
            raise BadHead("a malformed field (folded, blank before the colon, or a control in it)")
    pairs = (line.split(b":", 1) for line in lines[1:])
    return [(name.lower(), value.strip(b" \t")) for name, value in pairs]


def _framing(headers: Headers) -> tuple[int | None, bool]:
    """(length, chunked). Any doubt is an error: it is where request smuggling lives (RFC 9112 §11.2)."""
    if any(name in _LOOKALIKES for name, _ in headers):
        raise BadHead("a look-alike of a framing field")
    lengths = [value for name, value in headers if name == b"content-length"]
    codings = [value for name, value in headers if name == b"transfer-encoding"]
    if len(lengths) + len(codings) > 1:
        raise BadHead("more than one framing field")
    if codings:
        if codings[0].lower() != b"chunked":
            raise BadHead("a transfer coding other than chunked")
        return None, True
    if not lengths:
        return None, False
    if not _LENGTH.fullmatch(lengths[0]):
        raise BadHead("a length that is not a plain number")
    return int(lengths[0]), False
