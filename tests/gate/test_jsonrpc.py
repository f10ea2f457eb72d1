"""JSON-RPC messages: any bytes are one message or a reason, and nothing can be read in two ways."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from claude_bottle.gate.jsonrpc import INVALID_REQUEST, MAX_DEPTH, PARSE_ERROR, BadMessage, Call, read

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
MESSAGE = st.fixed_dictionaries(
    {},
    optional={
        "jsonrpc": st.just("2.0") | JSON, "id": st.integers() | st.text() | JSON,
        "method": st.sampled_from(["initialize", "ping", "tools/list", "tools/call"]) | JSON,
        "params": st.dictionaries(st.text(), JSON, max_size=3) | JSON, "result": JSON, "error": JSON, "other": JSON,
    },
)  # fmt: skip


def refused(body: bytes) -> BadMessage:
    with pytest.raises(BadMessage) as bad:
        read(body)
    return bad.value


@settings(deadline=None)
@given(st.binary(max_size=300))
def test_any_bytes_are_a_message_or_refused(body: bytes) -> None:
    try:
        call = read(body)
    except BadMessage as bad:
        assert json.loads(json.dumps(bad.to_dict()))["error"]["message"]
    else:
        assert isinstance(call, Call)


@settings(deadline=None)
@given(MESSAGE)
def test_any_json_is_a_message_or_refused(message: dict[str, object]) -> None:
    try:
        call = read(json.dumps(message).encode())
    except BadMessage as bad:
        assert bad.id in (None, message.get("id"))
    else:
        assert message["jsonrpc"] == "2.0"
        assert call.method == message.get("method", "")
        assert not isinstance(call.id, bool)


@pytest.mark.parametrize("message", [{"id": 1}, {"id": "a-1"}, {"id": 0}, {}])
def test_a_call_keeps_its_id(message: dict[str, object]) -> None:
    call = read(json.dumps({"jsonrpc": "2.0", "method": "ping", **message}).encode())
    assert call == Call("ping", {}, message.get("id"))  # type: ignore[arg-type]


def test_an_answer_of_the_client_is_no_call() -> None:
    assert read(b'{"jsonrpc":"2.0","id":7,"result":{}}') == Call("", {}, None)


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"\xff{}", b'{"a":NaN}', b'{"a":"\\ud800"}', b"[" * 60_000, b'{"a":' * 9000, b"9" * 5000, b"\xef\xbb\xbf{}"],
)  # fmt: skip
def test_what_is_not_json_is_a_parse_error(body: bytes) -> None:
    assert refused(body).code == PARSE_ERROR


@pytest.mark.parametrize(
    "body",
    [
        b'{"jsonrpc":"2.0","method":"ping","method":"tools/call","id":1}',
        b'[{"jsonrpc":"2.0","method":"ping","id":1}]',
        b'{"jsonrpc":"1.0","method":"ping","id":1}',
        b'{"jsonrpc":"2.0","method":"ping","id":null}',
        b'{"jsonrpc":"2.0","method":"ping","id":true}',
        b'{"jsonrpc":"2.0","method":"ping","id":1.5}',
        b'{"jsonrpc":"2.0","method":"ping","id":[]}',
        b'{"jsonrpc":"2.0","method":"ping","id":"' + b"x" * 200 + b'"}',
        b'{"jsonrpc":"2.0","method":7,"id":1}',
        b'{"jsonrpc":"2.0","method":"ping","params":[],"id":1}',
        b'{"jsonrpc":"2.0","method":"ping","id":1,"result":{}}',
        b'{"jsonrpc":"2.0","id":1}',
        b'{"jsonrpc":"2.0","method":"ping","params":' + b'{"a":' * MAX_DEPTH + b"1" + b"}" * MAX_DEPTH + b',"id":1}',
    ],
)
def test_what_two_readers_could_take_differently_is_refused(body: bytes) -> None:
    assert refused(body).code == INVALID_REQUEST
