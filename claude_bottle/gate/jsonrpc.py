"""JSON-RPC 2.0 messages, read strictly (jsonrpc.org/specification; the MCP transport sends one message a body).

Any bytes are either one message or a `BadMessage` that says why; what two readers could take differently (doubled keys,
numbers that are none, lone surrogates, several messages in one) is refused. Pure.
"""

from __future__ import annotations

import json
from typing import NoReturn

from claude_bottle.values import dataclass

PARSE_ERROR, INVALID_REQUEST, METHOD_NOT_FOUND, INVALID_PARAMS = -32700, -32600, -32601, -32602
MAX_DEPTH, MAX_ID, MAX_METHOD = 32, 128, 128
Id = str | int


class BadMessage(ValueError):
    """Not a message, or not one that can be obeyed. `id` is that of the request, where it has a sound one."""

    def __init__(self, code: int, why: str, ident: Id | None = None) -> None:
        super().__init__(why)
        self.code, self.why, self.id = code, why, ident

    def to_dict(self) -> dict[str, object]:
        return {"jsonrpc": "2.0", "id": self.id, "error": {"code": self.code, "message": self.why}}


@dataclass(frozen=True)
class Call:
    """A request, or without an id a notification. An answer to a request of ours has no method."""

    method: str
    params: dict[str, object]
    id: Id | None


def read(body: bytes) -> Call:
    """The one message in `body`. Raises BadMessage."""
    message = read_object(body)
    if message.get("jsonrpc") != "2.0":
        raise BadMessage(INVALID_REQUEST, 'jsonrpc must be "2.0"')
    given = message.get("id")
    ident: Id | None = None
    if (isinstance(given, str) and len(given) <= MAX_ID) or (type(given) is int and abs(given) < 1 << 53):
        ident = given
    if "method" not in message:
        if ("result" in message) != ("error" in message) and set(message) <= {"jsonrpc", "id", "result", "error"}:
            return Call("", {}, None)
        raise BadMessage(INVALID_REQUEST, "neither a request nor an answer", ident)
    if "id" in message and ident is None:
        raise BadMessage(INVALID_REQUEST, f"an id is a whole number, or a text of at most {MAX_ID} characters")
    method, params = message["method"], message.get("params", {})
    if not isinstance(method, str) or not 0 < len(method) <= MAX_METHOD or not isinstance(params, dict):
        raise BadMessage(INVALID_REQUEST, "a request has a method and may have params, an object", ident)
    if unknown := set(message) - {"jsonrpc", "id", "method", "params"}:
        raise BadMessage(INVALID_REQUEST, f"unknown members: {len(unknown)}", ident)
    return Call(method, params, ident)


def read_object(body: bytes) -> dict[str, object]:
    """The JSON object that `body` is. Raises BadMessage."""
    try:
        text = body.decode("utf-8")
        found = json.loads(text, object_pairs_hook=_object, parse_constant=_no_number)
        shallow = _depth(found) <= MAX_DEPTH
        json.dumps(found, ensure_ascii=False).encode("utf-8")  # a lone surrogate is no text
    except BadMessage:
        raise
    except (ValueError, RecursionError):
        raise BadMessage(PARSE_ERROR, "not JSON in UTF-8") from None
    if not shallow:
        raise BadMessage(INVALID_REQUEST, f"nested deeper than {MAX_DEPTH}")
    if not isinstance(found, dict):
        raise BadMessage(INVALID_REQUEST, "not an object: one message at a time")
    return found


def result(ident: Id | None, value: dict[str, object]) -> dict[str, object]:
    return {"jsonrpc": "2.0", "id": ident, "result": value}


def notification(method: str, params: dict[str, object]) -> dict[str, object]:
    return {"jsonrpc": "2.0", "method": method, "params": params}


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise BadMessage(INVALID_REQUEST, "an object has the same key twice")
    return found


def _no_number(_word: str) -> NoReturn:
    raise ValueError("NaN and Infinity are not JSON")


def _depth(value: object) -> int:
    """How deep lists and objects are nested, without recursion."""
    level, here = 0, [value]
    while here:
        level += 1
        if level > MAX_DEPTH:
            break
        inner: list[object] = []
        for one in here:
            if isinstance(one, dict):
                inner += one.values()
            elif isinstance(one, list):
                inner += one
        here = inner
    return level
