"""Read and check a journal, trusting none of it.

A journal may have been cut, edited or filled with rubbish, so lines are read with a cap, decoded one by one,
and a line that is no event is passed on as such instead of ending the reading. Nothing here writes.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from claude_bottle.digests import sha256
from claude_bottle.state import files

if TYPE_CHECKING:
    from typing import Self

LINE_LIMIT = 64 * 1024
FIRST_PREV = "0" * 64
_KEYS: dict[str, type | tuple[type, ...]] = {
    "seq": int,
    "wall": str,
    "mono": (int, float),
    "prev": str,
    "kind": str,
    "data": dict,
}


class Line(NamedTuple):
    """One line of a journal. `event` has the keys seq, wall, mono, prev, kind, data; None when the line is no
    event, then `problem` says why. `digest` is the hash of its bytes, newline included, which the next line
    must name."""

    number: int
    event: dict[str, Any] | None
    digest: str
    problem: str = ""


class Reader:
    """Reads a journal and goes on reading as it grows (`log --follow`): call `lines` again for what is
    new."""

    def __init__(self, path: Path, *, last: int | None = None) -> None:
        """`last`: only the lines that begin in its last so many bytes, numbered from 1. FileNotFoundError when there is
        none; Damaged when it is not a file of ours."""
        self._file = os.fdopen(files.open_private(path, os.O_RDONLY), "rb")
        self._number = 0
        if last is not None and (begin := os.fstat(self._file.fileno()).st_size - last) > 0:
            self._file.seek(begin - 1)
            self._skip_to_newline()

    def lines(self, *, unfinished: bool = False) -> Iterator[Line]:
        """The lines that are whole; with `unfinished` also a last one without its newline, as a problem."""
        while True:
            start = self._file.tell()
            raw = self._file.readline(LINE_LIMIT + 1)
            if not raw:
                return
            if not raw.endswith(b"\n") and len(raw) <= LINE_LIMIT:
                if unfinished:
                    self._number += 1
                    yield Line(self._number, None, "", "the last line is unfinished")
                else:
                    self._file.seek(start)
                return
            self._number += 1
            if len(raw) > LINE_LIMIT:
                self._skip_to_newline()
                yield Line(self._number, None, "", f"longer than {LINE_LIMIT} bytes")
            else:
                yield decode_line(raw, self._number)

    def close(self) -> None:
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _skip_to_newline(self) -> None:
        while (piece := self._file.readline(LINE_LIMIT)) and not piece.endswith(b"\n"):
            pass


def read(path: Path, *, growing: bool = False) -> Iterator[Line]:
    """Every line of a journal now; of one that is `growing` without the line that is just being written, of which only a part
    may be there. FileNotFoundError when there is none; Damaged when it is not a file of ours."""
    with Reader(path) as reader:
        yield from reader.lines(unfinished=not growing)


def verify(path: Path, head: tuple[int, str] | None = None, *, growing: bool = False) -> list[str]:
    """What is wrong with a journal, one text each; empty when the chain is whole.

    Edited, dropped, inserted and reordered lines show. A missing end shows only against a `head`
    (`Journal.head`). `growing` as for `read`.
    """
    problems: list[str] = []
    expected_seq, expected_prev = 1, FIRST_PREV
    for line in read(path, growing=growing):
        if line.event is None:
            problems.append(f"line {line.number}: {line.problem}")
            expected_seq, expected_prev = expected_seq + 1, line.digest
            continue
        if line.event["seq"] != expected_seq:
            problems.append(f"line {line.number}: number {line.event['seq']} where {expected_seq} should stand")
        if line.event["prev"] != expected_prev:
            problems.append(f"line {line.number}: does not follow from the line before it")
        expected_seq, expected_prev = line.event["seq"] + 1, line.digest
    if head is not None and head != (expected_seq - 1, expected_prev):
        problems.append(f"the end is not the one recorded (event {head[0]})")
    return problems


def decode_line(raw: bytes, number: int = 0) -> Line:
    """One line with its newline."""
    digest = sha256(raw).hexdigest()
    try:
        event = json.loads(raw)
    except (ValueError, RecursionError):
        return Line(number, None, digest, "not JSON")
    if not isinstance(event, dict) or event.keys() != _KEYS.keys():
        return Line(number, None, digest, "not an event")
    for key, kind in _KEYS.items():
        if not isinstance(event[key], kind) or isinstance(event[key], bool):
            return Line(number, None, digest, f"{key} has a wrong type")
    return Line(number, event, digest)
