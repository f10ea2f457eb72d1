"""Reads the name a TLS client asks for, from its first bytes and nothing else (RFC 8446 §4.1.2, RFC 6066 §3).

`read` is pure: the same answer for any segmentation, "more" until the whole hello is there, an error for whatever is not
one. A hello without exactly one readable name is an error too: no name, no decision, no connection. Whether a second
hello may be hidden in it (RFC 9849) is told, for the caller to judge: browsers always send something that looks so.
"""

from __future__ import annotations

from claude_bottle.values import dataclass

MAX_HELLO = 32 * 1024  # today's largest, with two post-quantum key shares and a resumption ticket, stay under 8 KiB
_HANDSHAKE, _CLIENT_HELLO = 22, 1
_SERVER_NAME, _ALPN, _ENCRYPTED_HELLO = 0x0000, 0x0010, 0xFE0D


class NotTls(ValueError):
    """The bytes are not a TLS ClientHello."""


class NoName(ValueError):
    """A ClientHello, but without one readable host name (missing, empty, of another kind)."""


@dataclass(frozen=True)
class Hello:
    """`name`: the server_name bytes exactly as sent; the caller canonicalises them. `encrypted`: it carries an encrypted
    hello, which may name another host, or a browser's imitation of one: nobody but the server can tell. `protocols`: what
    the client offers to speak (ALPN, RFC 7301), empty when it does not say."""

    name: bytes
    encrypted: bool = False
    protocols: tuple[bytes, ...] = ()


def read(data: bytes | bytearray) -> Hello | None:
    """The hello at the start of `data`; None while more bytes are needed. Raises NotTls or NoName."""
    message = bytearray()
    at = 0
    while True:
        if len(data) > at and data[at] != _HANDSHAKE:
            raise NotTls("not a handshake record")
        if len(data) > at + 1 and data[at + 1] != 3:
            raise NotTls("unknown record version")
        if len(data) < at + 5:
            return None
        length = data[at + 3] << 8 | data[at + 4]
        if not 0 < length <= 1 << 14:
            raise NotTls("impossible record length")
        if at + 5 + length > MAX_HELLO + 4096:
            raise NotTls("hello too large")
        message += data[at + 5 : at + 5 + length]
        hello = _message(message)
        if hello is not None:
            return hello
        at += 5 + length
        if at > len(data):
            return None


def _message(message: bytearray) -> Hello | None:
    if message and message[0] != _CLIENT_HELLO:
        raise NotTls("not a ClientHello")
    if len(message) < 4:
        return None
    length = int.from_bytes(message[1:4], "big")
    if length > MAX_HELLO:
        raise NotTls("hello too large")
    if len(message) < 4 + length:
        return None
    if len(message) > 4 + length:
        raise NotTls("bytes after the hello in its record")
    return _body(_Cursor(bytes(message[4:])))


class _Cursor:
    """A strict reader: running over the end, or leaving a rest where none may be, is NotTls."""

    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

    def take(self, count: int) -> bytes:
        if self.at + count > len(self.data):
            raise NotTls("truncated ClientHello")
        self.at += count
        return self.data[self.at - count : self.at]

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size), "big")

    def vector(self, size: int) -> _Cursor:
        return _Cursor(self.take(self.number(size)))

    @property
    def left(self) -> int:
        return len(self.data) - self.at

    def end(self) -> None:
        if self.left:
            raise NotTls("trailing bytes in the ClientHello")


def _body(hello: _Cursor) -> Hello:
    if hello.number(1) != 3:
        raise NotTls("unknown protocol version")
    hello.take(1 + 32)  # minor version, random
    hello.vector(1)  # session id
    if hello.vector(2).left < 2:  # cipher suites
        raise NotTls("no cipher suites")
    hello.vector(1)  # compression methods
    if not hello.left:
        raise NoName("no extensions")
    extensions = hello.vector(2)
    hello.end()
    seen: set[int] = set()
    name: bytes | None = None
    protocols: tuple[bytes, ...] = ()
    while extensions.left:
        kind = extensions.number(2)
        value = extensions.vector(2)
        if kind in seen:
            raise NotTls("an extension twice")
        seen.add(kind)
        if kind == _SERVER_NAME:
            name = _server_name(value)
        elif kind == _ALPN:
            protocols = _protocols(value)
    if name is None:
        raise NoName("no server name")
    return Hello(name, _ENCRYPTED_HELLO in seen, protocols)


def _server_name(value: _Cursor) -> bytes:
    names = value.vector(2)
    value.end()
    if names.number(1) != 0:
        raise NoName("not a host name")
    name = names.vector(2).data
    names.end()
    if not name:
        raise NoName("empty server name")
    return name


def _protocols(value: _Cursor) -> tuple[bytes, ...]:
    names = value.vector(2)
    value.end()
    found = []
    while names.left:
        found.append(names.vector(1).data)
    return tuple(found)


def alert(description: int) -> bytes:
    """A fatal alert record for a client that has not been answered yet (RFC 8446 §6): version, then level 2."""
    return bytes((21, 3, 3, 0, 2, 2, description))


ACCESS_DENIED, UNRECOGNIZED_NAME, HANDSHAKE_FAILURE, DECODE_ERROR = 49, 112, 40, 50
NO_APPLICATION_PROTOCOL = 120
