from __future__ import annotations

import http.client
import json
import socket
import ssl
from pathlib import Path
from typing import Any

import pytest

from claude_bottle.testing.model_script import parse
from claude_bottle.testing.model_server import ScriptedModel
from tests.waiting import SECONDS

KEY = "the-real-key"
CLAUDE = {"user-agent": "claude-cli/2.1.330 (external, cli)"}


def ask(model: ScriptedModel, *, path: str = "/v1/messages", **options: Any) -> tuple[int, Any]:
    """One request; (status, parsed body)."""
    headers = {"x-api-key": KEY, "x-claude-code-session-id": "s1", **options.pop("headers", {})}
    request = {"model": "m", "max_tokens": 9, "tools": [{}], "messages": [{"role": "user", "content": "hi"}], **options}
    connection = http.client.HTTPConnection("127.0.0.1", model.port, timeout=SECONDS)
    connection.request("POST", path, json.dumps(request), {k: v for k, v in headers.items() if v})
    answer = connection.getresponse()
    return answer.status, json.loads(answer.read())


def stream(model: ScriptedModel) -> list[dict[str, Any]]:
    connection = http.client.HTTPConnection("127.0.0.1", model.port, timeout=SECONDS)
    request = {"model": "m", "stream": True, "messages": [{"role": "user", "content": "hi"}]}
    connection.request("POST", "/v1/messages", json.dumps(request), {"x-api-key": KEY})
    lines = connection.getresponse().read().decode().splitlines()
    return [json.loads(line.removeprefix("data: ")) for line in lines if line.startswith("data: ")]


def serve(*turns: Any, **options: Any) -> ScriptedModel:
    return ScriptedModel(parse(list(turns)), keys=(KEY,), **options)


def test_a_message_carries_text_and_tool_calls() -> None:
    with serve({"say": "hello", "tools": [{"name": "Bash", "input": {"command": "id"}, "label": "who"}]}) as model:
        status, answer = ask(model)
    assert (status, answer["stop_reason"]) == (200, "tool_use")
    assert answer["content"][0] == {"type": "text", "text": "hello"}
    assert answer["content"][1]["input"] == {"command": "id"}
    assert answer["content"][1]["id"].startswith("toolu_who_")


def test_a_stream_has_the_events_of_the_api_in_their_order() -> None:
    text = "a text that is longer than one chunk of the stream"
    with serve({"say": text, "tools": [{"name": "Bash", "input": {"command": "id"}}]}) as model:
        events = stream(model)
    kinds = [event["type"] for event in events]
    assert kinds[0] == "message_start"
    assert kinds[-2:] == ["message_delta", "message_stop"]
    deltas = [event["delta"] for event in events if event["type"] == "content_block_delta"]
    assert "".join(delta.get("text", "") for delta in deltas) == text
    assert json.loads("".join(delta.get("partial_json", "") for delta in deltas)) == {"command": "id"}


@pytest.mark.parametrize(
    "headers",
    [
        {"x-api-key": ""},
        {"x-api-key": "placeholder"},
        {"x-api-key": "", "authorization": "Bearer placeholder"},
        {"authorization": "Bearer attackers"},
    ],
    ids=["none", "wrong key", "wrong token", "a second one"],
)
def test_any_credential_but_the_one_expected_is_refused_and_recorded(headers: dict[str, str]) -> None:
    with serve({"say": "never"}) as model:
        assert ask(model, headers=headers)[0] == 401
    assert [seen.kind for seen in model.requests] == ["refused"]


def test_a_bearer_token_is_a_credential_too() -> None:
    with serve({"say": "yes"}) as model:
        assert ask(model, headers={"x-api-key": "", "authorization": f"Bearer {KEY}"})[0] == 200
    assert model.requests[0].credential == f"Bearer {KEY}"


def test_scripted_errors_are_answered_once_and_then_the_script_goes_on() -> None:
    with serve({"error": {"status": 529, "type": "overloaded_error"}}, {"say": "now"}) as model:
        assert ask(model) == (529, {"type": "error", "error": {"type": "overloaded_error", "message": "scripted failure"}})
        assert ask(model)[1]["content"][0]["text"] == "now"


def test_a_cut_stream_breaks_off_after_the_text_it_was_given() -> None:
    with serve({"say": "x" * 100, "error": {"cut_after": 50}}) as model, pytest.raises(http.client.IncompleteRead) as cut:
        stream(model)
    assert cut.value.partial.count(b'"text": "' + b"x" * 24) == 2
    assert b"message_stop" not in cut.value.partial


def test_side_requests_of_claude_code_eat_no_turn() -> None:
    with serve({"say": "the turn"}) as model:
        assert ask(model, headers=CLAUDE, max_tokens=1)[0] == 200
        assert "title" in ask(model, headers=CLAUDE, tools=[])[1]["content"][0]["text"]
        assert ask(model, path="/v1/messages/count_tokens?beta=true")[1]["input_tokens"] > 0
        assert ask(model, headers=CLAUDE)[1]["content"][0]["text"] == "the turn"
    assert [seen.kind for seen in model.requests] == ["side:quota", "side:title", "count_tokens", "turn"]
    assert len(model.turns) == 1


def test_other_paths_are_recorded_and_not_found() -> None:
    with serve() as model:
        assert ask(model, path="/v1/files")[0] == 404
        connection = http.client.HTTPConnection("127.0.0.1", model.port)
        connection.request("HEAD", "/")
        assert connection.getresponse().status == 200
    assert [(seen.kind, seen.method) for seen in model.requests] == [("unknown", "POST"), ("probe", "HEAD")]


def test_requests_are_written_down_as_they_arrived(tmp_path: Path) -> None:
    with serve({"say": "x"}, record=tmp_path / "requests.jsonl") as model:
        ask(model, headers={"X-Odd": "Value"})
    (line,) = (tmp_path / "requests.jsonl").read_text().splitlines()
    seen = json.loads(line)
    assert ["x-odd", "Value"] in seen["headers"]
    assert seen["credential"] == KEY
    assert seen["conversation"] == "s1"
    assert seen["body"]["messages"] == [{"role": "user", "content": "hi"}]


def test_waiting_for_a_request_that_does_not_come_says_what_came() -> None:
    with serve({"say": "x"}) as model:
        ask(model)
        model.wait_for(lambda seen: len(seen) == 1, timeout=SECONDS)
        with pytest.raises(TimeoutError, match=r"POST /v1/messages \(turn\)"):
            model.wait_for(lambda seen: len(seen) == 2, timeout=0.01)


def test_its_certificate_is_good_for_its_names_and_only_by_its_own_ca(tmp_path: Path) -> None:
    with serve({"say": "over tls"}, tls=True, directory=tmp_path) as model:
        assert sorted(path.name for path in tmp_path.iterdir()) == ["ca.pem"]
        trusting = ssl.create_default_context(cafile=str(model.ca_file))
        for context, name, fails in (
            (trusting, "model.bottle.test", False),
            (trusting, "evil.test", True),
            (ssl.create_default_context(), "model.bottle.test", True),
        ):
            with socket.create_connection(("127.0.0.1", model.port)) as plain:
                if fails:
                    with pytest.raises(ssl.SSLCertVerificationError):
                        context.wrap_socket(plain, server_hostname=name)
                else:
                    with context.wrap_socket(plain, server_hostname=name) as tls:
                        tls.sendall(b"HEAD / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
                        assert tls.recv(100).startswith(b"HTTP/1.1 200")


def test_a_client_that_never_speaks_tls_holds_nobody_up(tmp_path: Path) -> None:
    with serve({"say": "x"}, tls=True, directory=tmp_path) as model, socket.create_connection(("127.0.0.1", model.port)):
        context = ssl.create_default_context(cafile=str(model.ca_file))
        connection = http.client.HTTPSConnection("127.0.0.1", model.port, context=context, timeout=SECONDS)
        connection.request("HEAD", "/")
        assert connection.getresponse().status == 200
