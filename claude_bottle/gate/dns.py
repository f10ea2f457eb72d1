"""The bottle's only name server: granted names get a synthetic address, everything else does not exist.

It never forwards anything, so a query can carry nothing out. Each granted name has one address of 198.18.0.0/15 for the
life of the gate; the address a client dialled therefore tells which name it meant. Pure: query bytes in, answer bytes
(or None: drop) and the denied name out; it accepts any bytes without raising.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable

from claude_bottle.model.asking import HOST
from claude_bottle.values import dataclass

INTERNAL_NAME = HOST
INTERNAL_ADDRESS = "198.18.0.1"
_BASE = 198 << 24 | 18 << 16
_LAST = (1 << 17) - 2  # the range's last usable host number
TTL = 30
_A, _OPT, _ANY, _IN = 1, 41, 255, 1
_FORMERR, _NXDOMAIN, _NOTIMP = 1, 3, 4
_HEADER = struct.Struct(">HHHHHH")


class AddressBook:
    """Names to synthetic addresses and back; addresses are given in order, from 198.18.0.2, and never reused: a name that
    is not granted any more keeps its own, but is not answered. `admits` is asked about every other name: whether a
    wildcard grants it, and one more may be had."""

    def __init__(self, names: Iterable[str], admits: Callable[[str], bool] = lambda _name: False) -> None:
        self._admits = admits
        self._address = {INTERNAL_NAME: INTERNAL_ADDRESS}
        self._name = {INTERNAL_ADDRESS: INTERNAL_NAME}
        self.answer_for(names)

    def answer_for(self, names: Iterable[str]) -> None:
        """From now on exactly these names (canonical) exist, and our own. OverflowError when the range is used up; then
        nothing has changed."""
        wanted = dict.fromkeys(names)
        if len(self._address) + len(wanted.keys() - self._address.keys()) > _LAST:
            raise OverflowError("no synthetic address left")
        for name in wanted:
            if name not in self._address:
                self._add(name)
        self._answered = frozenset(wanted) | {INTERNAL_NAME}

    def _add(self, name: str) -> None:
        packed = _BASE + len(self._address) + 1
        address = ".".join(str(packed >> shift & 255) for shift in (24, 16, 8, 0))
        self._address[name], self._name[address] = address, name

    def address(self, name: str) -> str | None:
        if name not in self._answered:
            if not self._admits(name):
                return None
            if name not in self._address:
                self._add(name)
        return self._address[name]

    def name(self, address: str) -> str | None:
        return self._name.get(address)


@dataclass(frozen=True)
class Answer:
    """`wire`: what to send back, None for nothing. `denied`: the name that was refused, if one was."""

    wire: bytes | None
    denied: str | None = None


@dataclass(frozen=True)
class _Question:
    raw: bytes  # name, type and class as sent, echoed byte for byte (some resolvers check the letter case)
    name: str
    kind: int
    edns: bool


def answer(query: bytes, book: AddressBook) -> Answer:
    """Answer one message. Never raises, never forwards."""
    if len(query) < 12:
        return Answer(None)
    ident, flags, *_ = _HEADER.unpack_from(query)
    if flags & 0x8000:
        return Answer(None)  # a response: answering it could start a loop
    if flags & 0x7800:
        return Answer(_reply(ident, flags, _NOTIMP))
    question = _parse(query)
    if question is None:
        return Answer(_reply(ident, flags, _FORMERR))
    address = book.address(question.name)
    if address is None:
        return Answer(_reply(ident, flags, _NXDOMAIN, question), denied=question.name)
    # Any other type of a granted name is "no data", not "no such name": a resolver that asks for AAAA or HTTPS first
    # would otherwise give up on the name.
    return Answer(_reply(ident, flags, 0, question, address if question.kind in (_A, _ANY) else None))


def _reply(ident: int, flags: int, code: int, question: _Question | None = None, address: str | None = None) -> bytes:
    edns = question is not None and question.edns
    out_flags = 0x8080 | flags & 0x0100 | code  # response, recursion available, the client's "desired" bit
    out = _HEADER.pack(ident, out_flags, 1 if question else 0, 1 if address else 0, 0, 1 if edns else 0)
    if question:
        out += question.raw
    if address:
        packed = bytes(int(part) for part in address.split("."))
        out += struct.pack(">HHHIH", 0xC00C, _A, _IN, TTL, 4) + packed
    if edns:
        out += b"\0" + struct.pack(">HHIH", _OPT, 1232, 0, 0)
    return out


def _parse(query: bytes) -> _Question | None:
    """The one question of a query, and whether it speaks EDNS; None if anything about it is odd."""
    _, _, questions, answers, authorities, extras = _HEADER.unpack_from(query)
    if questions != 1 or answers or authorities or extras > 1:
        return None
    labels: list[str] = []
    at = 12
    while True:
        if at >= len(query):
            return None
        length = query[at]
        if length == 0:
            break
        label = query[at + 1 : at + 1 + length]
        # No compression in a question; a byte that is no letter, digit, dash or underscore could mean a dot elsewhere.
        if length > 63 or len(label) != length or not _plain(label) or at + length - 12 > 253:
            return None
        labels.append(label.decode("ascii").lower())
        at += 1 + length
    if len(query) < at + 5:
        return None
    kind, klass = struct.unpack_from(">HH", query, at + 1)
    end = at + 5
    edns = bool(extras)
    if edns and not _is_opt(query[end:]):
        return None
    if not edns and len(query) != end:
        return None
    if klass != _IN or not labels:
        # The root and other classes: a well-formed question for which there is no such name here.
        return _Question(query[12:end], "." if not labels else f"{'.'.join(labels)} (class {klass})", kind, edns)
    return _Question(query[12:end], ".".join(labels), kind, edns)


def _plain(label: bytes) -> bool:
    return all(byte in _LABEL for byte in label)


_LABEL = frozenset(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_")


def _is_opt(extra: bytes) -> bool:
    """One OPT record and nothing after it (RFC 6891 §6.1.2)."""
    if len(extra) < 11 or extra[0] != 0 or extra[1] << 8 | extra[2] != _OPT:
        return False
    return len(extra) == 11 + (extra[9] << 8 | extra[10])
