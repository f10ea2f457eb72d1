"""DNS over TCP (RFC 7766): messages with a two-byte length before each, answered in order. The same stub as over UDP."""

from __future__ import annotations

from collections.abc import Callable

from claude_bottle.gate import core, dns, limits
from claude_bottle.gate.core import CLIENT


class DnsStream:
    """The logic of one name server connection. `denied` is told each name that was refused."""

    def __init__(self, book: dns.AddressBook, denied: Callable[[str], None]) -> None:
        self._book, self._denied = book, denied
        self._buffer = bytearray()

    def start(self) -> list[core.Command]:
        return [core.Timer(limits.HEAD_TIMEOUT)]

    def handle(self, event: core.Event) -> list[core.Command]:
        match event:
            case core.Received(_, data):
                return self._received(data)
            case core.Ended() | core.Expired() | core.Clogged():
                return [core.Close(CLIENT)]
            case _:
                return []

    def _received(self, data: bytes | bytearray | memoryview) -> list[core.Command]:
        self._buffer += data
        out = bytearray()
        while len(self._buffer) >= 2:
            length = self._buffer[0] << 8 | self._buffer[1]
            if length > limits.DNS_STREAM:
                return [core.Abort(CLIENT)]
            if len(self._buffer) < 2 + length:
                break
            answer = dns.answer(bytes(self._buffer[2 : 2 + length]), self._book)
            del self._buffer[: 2 + length]
            if answer.denied is not None:
                self._denied(answer.denied)
            if answer.wire is None:
                return [core.Abort(CLIENT)]
            out += len(answer.wire).to_bytes(2, "big") + answer.wire
        return [core.Write(CLIENT, bytes(out))] if out else []
