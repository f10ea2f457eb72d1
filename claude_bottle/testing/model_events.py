"""A scripted turn as the Messages API says it: one JSON message, or its server-sent events.

Pure. The event order and names are those of the public API's streaming reference; only what Claude Code reads
is sent.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from claude_bottle.testing.model_script import Conversation, Turn, tool_id

_CHUNK = 24


def message(turn: Turn, conversation: Conversation, *, model: str, number: int) -> dict[str, Any]:
    """The answer as one Messages API message. `number` makes ids unique per server."""
    content: list[dict[str, Any]] = []
    text = turn.text(conversation)
    if text:
        content.append({"type": "text", "text": text})
    for offset, call in enumerate(turn.calls(conversation)):
        identifier = tool_id(call, number * 10 + offset)
        content.append({"type": "tool_use", "id": identifier, "name": call.name, "input": call.input})
    return {
        "id": f"msg_scripted{number:06d}",
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": content,
        "stop_reason": "tool_use" if turn.tools else "end_turn",
        "stop_sequence": None,
        "usage": _usage(len(text) // 4 + 1),
    }


def events(answer: dict[str, Any]) -> Iterator[bytes]:
    """The same answer as server-sent events, one `event:`/`data:` block each."""
    yield _event("message_start", {"message": {**answer, "content": [], "stop_reason": None}})
    for index, block in enumerate(answer["content"]):
        yield from _block(index, block)
    delta = {"stop_reason": answer["stop_reason"], "stop_sequence": None}
    usage = {"output_tokens": answer["usage"]["output_tokens"]}
    yield _event("message_delta", {"delta": delta, "usage": usage})
    yield _event("message_stop", {})


def error(kind: str, text: str) -> dict[str, Any]:
    """The body of an API error."""
    return {"type": "error", "error": {"type": kind, "message": text}}


def text_length(event: bytes) -> int:
    """How many characters of text this event carries (0: none). Used to cut a stream where the script
    says."""
    if b"text_delta" not in event:
        return 0
    return len(json.loads(event.split(b"data: ", 1)[1])["delta"]["text"])


def _block(index: int, block: dict[str, Any]) -> Iterator[bytes]:
    if block["type"] == "text":
        empty: dict[str, Any] = {"type": "text", "text": ""}
        pieces = [block["text"][at : at + _CHUNK] for at in range(0, len(block["text"]), _CHUNK)]
        deltas = [{"type": "text_delta", "text": piece} for piece in pieces]
    else:
        empty = {**block, "input": {}}
        deltas = [{"type": "input_json_delta", "partial_json": json.dumps(block["input"])}]
    yield _event("content_block_start", {"index": index, "content_block": empty})
    for delta in deltas:
        yield _event("content_block_delta", {"index": index, "delta": delta})
    yield _event("content_block_stop", {"index": index})


def _event(name: str, data: dict[str, Any]) -> bytes:
    return f"event: {name}\ndata: {json.dumps({'type': name, **data})}\n\n".encode()


def _usage(output: int) -> dict[str, int]:
    return {
        "input_tokens": 10,
        "output_tokens": output,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": 0,
    }
