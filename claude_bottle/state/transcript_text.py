"""A conversation file as turns a person can read.

The file was written by the agent: lines are read with a cap, what is not understood is passed over, every
string goes through `redact.printable` and is bounded. The form is Claude Code's: one JSON object a line,
`type` user or assistant, `message.content` a text or a list of blocks.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

from claude_bottle.redact import printable
from claude_bottle.state import files

LINE_LIMIT = 16 << 20
TEXT_LIMIT = 200_000
_INPUT_WIDTH = 200


class Turn(NamedTuple):
    """One thing said or done. `role` is user, assistant, tool (a call) or result; `tool` the tool's name for
    a call; `text` what was said, or the call's input on one line; `when` RFC 3339 or "". All safe to
    print."""

    role: str
    text: str
    tool: str = ""
    when: str = ""


def turns_of(path: Path) -> Iterator[Turn]:
    """The turns of one of our archived files. FileNotFoundError; Damaged when it is not a file of ours."""
    with os.fdopen(files.open_private(path, os.O_RDONLY), "rb") as file:
        yield from render(_capped_lines(file))


def render(lines: Iterable[bytes]) -> Iterator[Turn]:
    """The turns in lines of a conversation, in their order. Takes any bytes."""
    for line in lines:
        try:
            entry = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(entry, dict) and entry.get("isMeta") is not True:
            yield from _turns_of_entry(entry)


def _turns_of_entry(entry: dict[str, object]) -> Iterator[Turn]:
    message = entry.get("message")
    role = entry.get("type")
    if role not in ("user", "assistant") or not isinstance(message, dict):
        return
    when = _line(entry.get("timestamp"), 40)
    content = message.get("content")
    for block in content if isinstance(content, list) else [content]:
        turn = _turn_of_block(block, str(role), when)
        if turn is not None:
            yield turn


def _turn_of_block(block: object, role: str, when: str) -> Turn | None:
    if isinstance(block, str):
        block = {"type": "text", "text": block}
    if not isinstance(block, dict):
        return None
    kind = block.get("type")
    if kind == "text":
        text = _text(block.get("text"))
        return Turn(role, text, when=when) if text else None
    if kind == "tool_use":
        return Turn("tool", _line(_dump(block.get("input")), _INPUT_WIDTH), _line(block.get("name"), 80), when)
    if kind == "tool_result":
        return Turn("result", _text(_joined(block.get("content"))), when=when)
    if kind in ("image", "document"):
        return Turn(role, f"[{kind}]", when=when)
    return None


def _joined(content: object) -> str:
    """The text of a tool's result: a text, or a list of text and other blocks."""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        return ""
    texts = []
    for block in content:
        if isinstance(block, dict):
            text = block.get("text")
            texts.append(text if isinstance(text, str) else f"[{block.get('type')}]")
    return "\n".join(texts)


def _dump(value: object) -> str:
    """A tool's input on one line; a single text argument as it is."""
    if isinstance(value, dict) and len(value) == 1:
        only = next(iter(value.values()))
        if isinstance(only, str):
            return only
    return json.dumps(value, ensure_ascii=False)


def _text(value: object) -> str:
    text = value if isinstance(value, str) else ""
    return printable(text[:TEXT_LIMIT], keep_newlines=True) + ("…" if len(text) > TEXT_LIMIT else "")


def _line(value: object, width: int) -> str:
    return printable(value[: 4 * width], width=width) if isinstance(value, str) else ""


def _capped_lines(file: BinaryIO) -> Iterator[bytes]:
    readline = file.readline
    while line := readline(LINE_LIMIT):
        if len(line) == LINE_LIMIT and not line.endswith(b"\n"):
            while (rest := readline(LINE_LIMIT)) and not rest.endswith(b"\n"):
                pass
            continue
        yield line
