"""Where each value of a JSON text stands, so that a problem can be shown with its line and column.

A small scanner over tokens with its own stack (no recursion), used only after something was found wrong. It
assumes nothing: on text that is not JSON it stops at the place it no longer understands, and reports what it
has seen.
"""

from __future__ import annotations

import json
import re

from claude_bottle.values import dataclass, field

Path = tuple[str | int, ...]
MAX_DEPTH = 32  # the deepest place of a manifest's schema is 9; nothing legitimate comes near

_TOKEN = re.compile(r'[ \t\n\r]*(?:([{}\[\]:,])|("(?:[^"\\\x00-\x1f]|\\.)*")|([^\s{}\[\]:,"]+))')


@dataclass
class Positions:
    """Offsets by path: of keys (for members of objects) and of values; what is doubled; where it went too
    deep."""

    text: str
    keys: dict[Path, int] = field(default_factory=dict)
    values: dict[Path, int] = field(default_factory=dict)
    duplicates: list[tuple[Path, int, int]] = field(default_factory=list)
    """(path, offset of the repetition, offset of the first), in order of appearance."""
    constants: list[int] = field(default_factory=list)
    """Offsets of NaN and Infinity, which JSON does not have and Python's reader takes."""
    too_deep: int | None = None

    def line_column(self, offset: int) -> tuple[int, int]:
        """1-based line and column (in characters) of an offset."""
        return self.text.count("\n", 0, offset) + 1, offset - self.text.rfind("\n", 0, offset)

    def place(self, path: Path, *, key: bool = False) -> tuple[int, int]:
        """Line and column of the value (or key) at `path`, or of the nearest thing around it that exists."""
        for length in range(len(path), -1, -1):
            nearest = path[:length]
            table = self.keys if key and length == len(path) else self.values
            offset = table.get(nearest, self.keys.get(nearest))
            if offset is not None:
                return self.line_column(offset)
        return 1, 1


@dataclass
class _Open:
    """A container being read: its path, the next list index (None for objects), the key last seen, all
    keys."""

    path: Path
    index: int | None
    key: str | None = None
    first: dict[str, int] = field(default_factory=dict)

    def child(self) -> Path:
        return (*self.path, self.key if self.index is None and self.key is not None else self.index or 0)


def scan(text: str) -> Positions:
    """The positions of everything in `text`, up to the first place that is not JSON."""
    found = Positions(text)
    stack: list[_Open] = []
    offset = 0
    while (token := _TOKEN.match(text, offset)) is not None and found.too_deep is None:
        offset = token.end()
        sign, string, scalar = token.groups()
        start = token.start(token.lastindex or 0)
        if sign in ("{", "["):
            path = stack[-1].child() if stack else ()
            found.values[path] = start
            stack.append(_Open(path, 0 if sign == "[" else None))
            if len(stack) > MAX_DEPTH:
                found.too_deep = start
        elif sign in ("}", "]"):
            if not stack:
                break
            stack.pop()
        elif sign == ",":
            _next_member(stack)
        elif sign is None:
            if scalar in ("NaN", "Infinity", "-Infinity"):
                found.constants.append(start)
            _take_scalar(found, stack, string, start)
    return found


def _next_member(stack: list[_Open]) -> None:
    if stack:
        top = stack[-1]
        top.key = None
        if top.index is not None:
            top.index += 1


def _take_scalar(found: Positions, stack: list[_Open], string: str | None, start: int) -> None:
    top = stack[-1] if stack else None
    if top is None or top.index is not None or top.key is not None:
        found.values[top.child() if top else ()] = start
        return
    if string is None:
        return
    try:
        key = json.loads(string)
    except ValueError:
        return
    top.key = key
    path = (*top.path, key)
    if key in top.first:
        found.duplicates.append((path, start, top.first[key]))
    else:
        top.first[key] = start
        found.keys[path] = start
