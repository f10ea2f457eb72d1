"""Git's pkt-lines (gitprotocol-common(5)), read strictly and in bounded memory; and the answer to a push.

Four hexadecimal digits count a line with themselves; 0000 is a flush. A reader keeps at most one line, and whatever is
not a pkt-line is `BadPkt`: nothing is skipped and nothing is guessed. Text of either side is hostile. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from claude_bottle.redact import printable

MAX_LINE = 65520
FLUSH = b"0000"
_SPECIAL = {0: "flush", 1: "delim", 2: "response end"}
_LENGTH = re.compile(rb"[0-9a-fA-F]{4}")
# Band 1 carries the answer, 2 what is shown to the user, 3 a fatal error (gitprotocol-pack(5)).
DATA, PROGRESS, FATAL = 1, 2, 3
_BAND = 60000


class BadPkt(ValueError):
    """Not a pkt-line. The text says why and quotes nothing."""


class Reader:
    """Bytes in, lines out: `feed` gives payloads, None for a flush. `rest` is what has not been a whole line yet."""

    __slots__ = ("rest",)

    def __init__(self) -> None:
        self.rest = bytearray()

    def feed(self, data: bytes | bytearray | memoryview) -> None:
        self.rest += data

    def next(self) -> bytes | bool | None:
        """The next line, None for a flush, False when it is not complete. Raises BadPkt."""
        if len(self.rest) < 4:
            return False
        size = length(bytes(self.rest[:4]))
        if size == 0:
            del self.rest[:4]
            return None
        if len(self.rest) < size:
            return False
        line = bytes(self.rest[4:size])
        del self.rest[:size]
        return line


def length(head: bytes) -> int:
    """What four digits count; 0 for a flush. BadPkt for all else, delimiters of protocol 2 included."""
    if not _LENGTH.fullmatch(head):
        raise BadPkt("not a pkt-line")
    size = int(head, 16)
    if size in (1, 2, 3):
        raise BadPkt(f"a {_SPECIAL.get(size, 'reserved')} packet where none belongs")
    if size > MAX_LINE:
        raise BadPkt("a pkt-line longer than 65520 bytes")
    return size


def lines(data: bytes) -> Iterator[bytes | None]:
    """All lines of a whole text. BadPkt for what is none, and for what is cut off."""
    reader = Reader()
    reader.feed(data)
    while (line := reader.next()) is not False:
        yield line  # type: ignore[misc]
    if reader.rest:
        raise BadPkt("it ends in the middle of a line")


def line(payload: bytes) -> bytes:
    """One pkt-line."""
    return b"%04x%s" % (len(payload) + 4, payload)


def banded(band: int, data: bytes) -> bytes:
    """`data` on a side band, in as many lines as it takes."""
    return b"".join(line(bytes([band]) + data[at : at + _BAND]) for at in range(0, len(data), _BAND))


def report(results: Iterable[tuple[str, str]], unpack: str = "ok") -> bytes:
    """The report-status of a push: (ref, "" or why not) each."""
    out = [line(b"unpack %s\n" % one_line(unpack).encode())]
    out += [line(b"ng %s %s\n" % (ref.encode(), one_line(why).encode()) if why else b"ok %s\n" % ref.encode())
            for ref, why in results]  # fmt: skip
    return b"".join(out) + FLUSH


def answer(results: Iterable[tuple[str, str]], said: str, *, bands: bool, status: bool, unpack: str = "ok") -> bytes:
    """A whole answer to a push. `said` is shown to whoever pushes; `bands`, `status`: what its git asked for."""
    told = report(results, unpack) if status else b""
    if not bands:
        return told
    words = "".join(f"{one}\n" for one in printable(said, keep_newlines=True).splitlines())
    return banded(PROGRESS, words.encode()) + banded(DATA, told) + FLUSH


def one_line(text: str) -> str:
    return printable(text.replace("\n", "; "))[:1000]


class Calmed:
    """A stream of pkt-lines on its way down, with whatever a terminal could act on taken out of its progress text, byte for
    byte, so that every length stays. What is no pkt-line (any more) goes on as it is: it is no text then."""

    def __init__(self) -> None:
        self._left = 0  # of the present line
        self._head = b""
        self._band = -1  # of the present line: -1 not known yet
        self._raw = False

    def feed(self, data: bytes) -> bytes:
        if self._raw:
            return data
        out, at = [], 0
        while at < len(data):
            if self._left == 0:
                need = 4 - len(self._head)
                piece = data[at : at + need]
                self._head += piece
                at += len(piece)
                out.append(piece)
                if len(self._head) < 4:
                    break
                if not self._begin():
                    out.append(data[at:])
                    return b"".join(out)
                continue
            piece = data[at : at + self._left]
            at += len(piece)
            self._left -= len(piece)
            if self._band < 0:
                self._band = piece[0]
            out.append(_calm(piece) if self._band in (PROGRESS, FATAL) else piece)
        return b"".join(out)

    def _begin(self) -> bool:
        """A line's length is complete. False when it is none: then all that follows is raw."""
        head, self._head = self._head, b""
        if not _LENGTH.fullmatch(head) or 0 < int(head, 16) > MAX_LINE:
            self._raw = True
            return False
        self._left, self._band = max(0, int(head, 16) - 4), -1
        return True


def _calm(text: bytes) -> bytes:
    # The band's own number (2, 3) is the first byte and stays.
    return text[:1] + _ACTS.sub(lambda found: b"?" * len(found[0]), text[1:])


# C0 but TAB, LF and CR (git's own progress lines end in it), DEL, and C1 controls as UTF-8 spells them or bare.
_ACTS = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]|\xc2[\x80-\x9f]|(?<![\xc2-\xf4\x80-\xbf])[\x80-\x9f]")
