"""Editing a JSON text in place: something is added or a value replaced, and every other byte stays as it was.

Order, indentation, line ends and blanks are the author's; what is added looks like its neighbours. Works on the text with
the offsets that `positions` finds, one edit at a time, so each result is scanned anew. The text must be a whole JSON
document (the caller has loaded it). Pure.
"""

from __future__ import annotations

import json

from claude_bottle.state.positions import Path, Positions, scan

_BLANK = " \t\r\n"


def append(text: str, path: Path, value: object) -> str:
    """`value` at the end of the list at `path`. KeyError when there is no value at `path`."""
    return _insert(scan(text), path, json.dumps(value))


def put(text: str, path: Path, key: str, value: object) -> str:
    """A new member at the end of the object at `path`, which has no such key yet. KeyError as for `append`."""
    found = scan(text)
    return _insert(found, path, f"{json.dumps(key)}{_colon(found, path)}{json.dumps(value)}")


def replace(text: str, path: Path, value: object) -> str:
    """`value` in place of what stands at `path`. KeyError as for `append`."""
    start = scan(text).values[path]
    return text[:start] + json.dumps(value) + text[_end(text, start) :]


def _insert(found: Positions, path: Path, made: str) -> str:
    text, children = found.text, _children(found, path)
    if not children:
        return _fill(found, path, made)
    last = children[-1]
    gap = _blank_before(text, found.keys.get(last, found.values[last]))
    if len(children) == 1 and "\n" not in gap:
        gap = " "
    end = _end(text, found.values[last])
    return text[:end] + "," + gap + made + text[end:]


def _fill(found: Positions, path: Path, made: str) -> str:
    """Into an empty container: on lines of its own where its own neighbours stand on lines of their own."""
    text, start = found.text, found.values[path]
    close = _end(text, start) - 1
    inside = text[start + 1 : close]
    own = _blank_before(text, found.keys.get(path, start)) if path else _newline(text)
    if "\n" not in own or not _unit(found):
        return text[: start + 1] + made + text[close:]
    newline = "\r\n" if own.startswith("\r\n") else "\n"
    indent = own.rpartition("\n")[2]
    after = inside if "\n" in inside else newline + indent
    return text[: start + 1] + newline + indent + _unit(found) + made + after + text[close:]


def _children(found: Positions, path: Path) -> list[Path]:
    return [one for one in found.values if len(one) == len(path) + 1 and one[:-1] == path]


def _colon(found: Positions, path: Path) -> str:
    """What stands between a key and its value here, or anywhere."""
    members = [one for one in (*_children(found, path), *found.keys) if one in found.keys and one in found.values]
    for one in members:
        return found.text[_end(found.text, found.keys[one]) : found.values[one]]
    return ": "


def _unit(found: Positions) -> str:
    """By how much this text indents; "" when it does not."""
    first = next((one for one in found.keys if len(one) == 1), None)
    gap = _blank_before(found.text, found.keys[first]) if first else ""
    return gap.rpartition("\n")[2] if "\n" in gap else ""


def _newline(text: str) -> str:
    return "\r\n" if "\r\n" in text else "\n"


def _blank_before(text: str, offset: int) -> str:
    begin = offset
    while begin and text[begin - 1] in _BLANK:
        begin -= 1
    return text[begin:offset]


def _end(text: str, start: int) -> int:
    return int(json.JSONDecoder().raw_decode(text, start)[1])
