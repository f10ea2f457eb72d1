"""The gate's own pages in memory: what an agent may ask there, how it waits, and that nothing there decides anything."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from claude_bottle.gate import core, limits
from claude_bottle.gate.core import CLIENT
from claude_bottle.gate.decide import GateState
from claude_bottle.model.policy import Rule
from claude_bottle.testing.playbook import Playbook, split
from tests.gate.conftest import HOST, MakeState, bound

PLAIN = Rule(HOST, port=80)
CRATES = {"rules": [{"host": "crates.io", "methods": ["GET"]}], "reason": "to build"}
CHANGE = {"kind": "egress", "rules": [{"host": "crates.io", "methods": ["GET"]}], "reason": "to build"}


class Agent:
    """A client in the bottle on one connection to the gate's own name, and the keeper's side of the desk."""

    def __init__(self, state: GateState) -> None:
        self.state = state
        self.play = Playbook(state, "http", "198.18.0.1", 80)
        self.session = ""

    def send(self, method: str, path: str, body: bytes = b"", **headers: str) -> bytes:
        fields = {"Host": "bottle.internal", **{key.replace("_", "-"): value for key, value in headers.items()}}
        if body:
            fields = {"Content-Type": "application/json", **fields, "Content-Length": str(len(body))}
        head = "".join(f"{key}: {value}\r\n" for key, value in fields.items())
        return self.play.client(f"{method} {path} HTTP/1.1\r\n{head}\r\n".encode() + body)

    def post(self, path: str, said: object, **headers: str) -> bytes:
        return self.send("POST", path, json.dumps(said).encode(), **headers)

    def rpc(self, method: str, params: object = None, *, ident: object = 1, **headers: str) -> bytes:
        message = {"jsonrpc": "2.0", "method": method, **({"params": params} if params is not None else {})}
        if ident is not None:
            message["id"] = ident
        if self.session:
            headers["Mcp_Session_Id"] = self.session
        return self.post("/mcp", message, **headers)

    def begin(self) -> dict[str, Any]:
        answer = self.rpc("initialize", {"protocolVersion": "2025-11-25", "capabilities": {}})
        self.session = header(answer, "mcp-session-id")
        return result(answer)

    def call(self, tool: str, arguments: object, *, ident: object = 1, **meta: object) -> bytes:
        params = {"name": tool, "arguments": arguments, **({"_meta": meta} if meta else {})}
        return self.rpc("tools/call", params, ident=ident)

    @property
    def asked(self) -> dict[str, Any]:
        return [told for told in self.play.told if told["op"] == "ask"][-1]

    def keeper(self, state: str, text: str = "", *, ticket: bool = False, request: str = "q-1") -> bytes:
        """The keeper says what has become of a request; what the agent gets for it."""
        self.state.pages.desk.heard(self.asked["ticket"] if ticket else "", request, state, text)
        return self.play.answer()


def status(answer: bytes) -> int:
    return int(answer[9:12])


def header(answer: bytes, name: str) -> str:
    lines = answer.partition(b"\r\n\r\n")[0].decode().split("\r\n")
    return next((line.partition(": ")[2] for line in lines if line.lower().startswith(f"{name}:")), "")


def said(answer: bytes) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(answer.partition(b"\r\n\r\n")[2])
    return found


def result(answer: bytes) -> dict[str, Any]:
    assert status(answer) == 200, answer
    found: dict[str, Any] = said(answer)["result"]
    return found


def events(data: bytes) -> list[dict[str, Any]]:
    return [json.loads(line[6:]) for line in data.split(b"\n") if line.startswith(b"data: ")]


@pytest.fixture
def agent(make_state: MakeState) -> Agent:
    return Agent(make_state(PLAIN))


@pytest.fixture
def client(agent: Agent) -> Agent:
    """With an MCP session."""
    agent.begin()
    return agent


# MCP


def test_initialize_gives_a_session_and_tells_how_to_ask(agent: Agent) -> None:
    begun = agent.begin()
    assert begun["protocolVersion"] == "2025-11-25"
    assert begun["capabilities"]["tools"] == {"listChanged": False}
    assert "operator" in begun["instructions"]
    assert len(agent.session) == 32


def test_a_client_of_an_unknown_version_is_offered_ours(agent: Agent) -> None:
    assert result(agent.rpc("initialize", {"protocolVersion": "2031-01-01"}))["protocolVersion"] == "2025-11-25"
    assert status(agent.rpc("ping", MCP_Protocol_Version="1999-01-01")) == 400


def test_the_tools_are_listed_with_schemas_that_say_what_is_needed(client: Agent) -> None:
    listed = {tool["name"]: tool for tool in result(client.rpc("tools/list"))["tools"]}
    assert set(listed) == {"request_egress", "request_credential", "request_capability", "request_port", "request_budget",
                           "request_status", "my_policy"}  # fmt: skip
    assert listed["request_egress"]["inputSchema"]["required"] == ["rules", "reason"]
    assert listed["my_policy"]["annotations"]["readOnlyHint"] is True


def test_a_call_waits_on_a_stream_until_the_operator_has_decided(client: Agent) -> None:
    begun = client.call("request_egress", CRATES, ident="c-1")
    assert header(begun, "content-type") == "text/event-stream"
    assert client.asked["change"]["rules"][0]["host"] == "crates.io"
    assert (client.asked["reason"], client.asked["via"]) == ("to build", "mcp")
    assert client.keeper("submitted", ticket=True) == b""
    assert client.keeper("approved") == b""
    answer = client.keeper("applied", "granted for this session: GET https://crates.io/**")
    (message,) = events(answer)
    assert message["id"] == "c-1"
    assert message["result"]["structuredContent"] == {
        "id": "q-1", "state": "applied", "decided": True, "text": "granted for this session: GET https://crates.io/**",
    }  # fmt: skip
    assert "granted for this session" in message["result"]["content"][0]["text"]
    assert answer.endswith(b"0\r\n\r\n")
    assert client.state.pages.desk.waiting == 0


def test_a_rejection_is_told_with_its_reason(client: Agent) -> None:
    client.call("request_egress", CRATES)
    client.keeper("submitted", ticket=True)
    (message,) = events(client.keeper("rejected", "rejected: use the mirror"))
    assert message["result"]["structuredContent"]["state"] == "rejected"
    assert "use the mirror" in message["result"]["content"][0]["text"]


def test_a_request_the_keeper_turns_away_ends_at_once(client: Agent) -> None:
    client.call("request_egress", CRATES)
    (message,) = events(client.keeper("rejected", "too many requests wait already", ticket=True, request=""))
    assert message["result"]["structuredContent"]["decided"] is True


@pytest.mark.parametrize(
    ("state", "status_of", "told"),
    [("applied", 200, "applied"), ("rejected", 429, "rejected"), ("submitted", 429, "rejected")],
)
def test_what_is_granted_already_or_turned_away_has_no_id(agent: Agent, state: str, status_of: int, told: str) -> None:
    agent.post("/request?wait=60", CHANGE)
    answer = agent.keeper(state, "that is granted already", ticket=True, request="")
    assert (status(answer), said(answer)["state"], said(answer)["id"]) == (status_of, told, "")


def test_a_sign_of_life_comes_now_and_then_and_progress_where_it_is_wanted(client: Agent) -> None:
    client.call("request_egress", CRATES, progressToken="p")
    (first,) = events(client.keeper("submitted", ticket=True))
    assert (first["method"], first["params"]["progressToken"]) == ("notifications/progress", "p")
    assert core.Timer(limits.BEAT) in client.play.commands
    numbers = [first["params"]["progress"]]
    for _ in range(3):
        client.play.event(core.Expired())
        beat = client.play.answer()
        assert b"\n: " in beat
        numbers.append(events(beat)[0]["params"]["progress"])
    assert numbers == sorted(set(numbers))
    assert events(client.keeper("applied"))[-1]["result"]["isError"] is False


def test_the_connection_serves_the_next_call_after_a_long_wait(client: Agent) -> None:
    client.call("request_egress", CRATES)
    client.keeper("applied", ticket=True)
    assert result(client.rpc("ping")) == {}


def test_a_call_with_a_time_returns_undecided_and_its_state_can_be_asked_later(client: Agent) -> None:
    client.call("request_egress", {**CRATES, "wait_seconds": 0})
    (message,) = events(client.keeper("submitted", ticket=True))
    assert message["result"]["structuredContent"]["decided"] is False
    assert "request_status" in message["result"]["content"][0]["text"]
    client.keeper("applied", "granted")
    later = result(client.call("request_status", {"id": "q-1"}))
    assert (later["structuredContent"]["state"], later["structuredContent"]["text"]) == ("applied", "granted")


def test_a_cancelled_call_is_not_answered_and_waits_no_more(client: Agent) -> None:
    client.call("request_egress", CRATES, ident=7)
    client.keeper("submitted", ticket=True)
    other = Agent(client.state)
    other.session = client.session
    assert status(other.rpc("notifications/cancelled", {"requestId": 7}, ident=None)) == 202
    assert events(client.play.answer()) == []
    assert client.state.pages.desk.waiting == 0
    assert client.keeper("applied") == b""


def test_another_sessions_calls_cannot_be_cancelled(client: Agent) -> None:
    client.call("request_egress", CRATES, ident=7)
    other = Agent(client.state)
    other.begin()
    other.rpc("notifications/cancelled", {"requestId": 7}, ident=None)
    assert client.state.pages.desk.waiting == 1


@pytest.mark.parametrize("leaves", [core.Ended(CLIENT), core.Lost(CLIENT)])
def test_a_client_that_leaves_waits_no_more_but_its_request_stays(client: Agent, leaves: core.Event) -> None:
    client.call("request_egress", CRATES)
    client.keeper("submitted", ticket=True)
    client.play.event(leaves)
    assert client.state.pages.desk.waiting == 0
    assert client.state.pages.desk.known()[0]["state"] == "submitted"
    again = Agent(client.state)
    again.begin()
    client.keeper("applied", "granted")
    assert result(again.call("request_status", {"id": "q-1"}))["structuredContent"]["state"] == "applied"


def test_the_end_of_a_session_ends_its_calls(client: Agent) -> None:
    client.call("request_egress", CRATES)
    other = Agent(client.state)
    assert status(other.send("DELETE", "/mcp", Mcp_Session_Id=client.session)) == 204
    assert client.state.pages.desk.waiting == 0
    other.session = client.session
    assert status(other.rpc("ping")) == 404  # the client is to begin anew


def test_a_stream_that_is_held_open_is_kept_alive(client: Agent) -> None:
    begun = client.send("GET", "/mcp", Mcp_Session_Id=client.session, Accept="text/event-stream")
    assert header(begun, "content-type") == "text/event-stream"
    client.play.event(core.Expired())
    assert b": \n\n" in client.play.answer()


def test_streams_held_open_are_bounded(client: Agent) -> None:
    agents = [Agent(client.state) for _ in range(limits.STREAMS + 1)]
    answers = [one.send("GET", "/mcp", Mcp_Session_Id=client.session, Accept="text/event-stream") for one in agents]
    assert [status(answer) for answer in answers] == [200] * limits.STREAMS + [405]
    agents[0].play.event(core.Lost(CLIENT))
    assert status(Agent(client.state).send("GET", "/mcp", Mcp_Session_Id=client.session)) == 200


def test_sessions_are_bounded_and_the_oldest_goes(client: Agent) -> None:
    for _ in range(limits.MCP_SESSIONS):
        Agent(client.state).begin()
    assert status(client.rpc("ping")) == 404


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"Origin": "https://evil.test"}, 403), ({"Origin": "null"}, 403), ({"Origin": "http://bottle.internal"}, 200),
        ({"Content_Type": "text/plain"}, 415), ({"Accept": "application/json"}, 406), ({"Accept": "*/*"}, 200),
        ({"Accept": "application/json, text/event-stream"}, 200),
    ],
)  # fmt: skip
def test_what_a_web_page_in_the_bottle_could_send_is_not_the_agents_word(
    agent: Agent, headers: dict[str, str], expected: int
) -> None:
    assert status(agent.rpc("initialize", {"protocolVersion": "2025-11-25"}, **headers)) == expected
    wanted = {415: 415, 403: 403}.get(expected, 200)
    answer = agent.post("/request", CHANGE, **headers)
    assert bool([told for told in agent.play.told if told["op"] == "ask"]) == (wanted == 200), answer


def test_a_method_that_is_not_ours_is_an_error_and_a_notification_is_not(client: Agent) -> None:
    assert said(client.rpc("resources/list"))["error"]["code"] == -32601
    assert status(client.rpc("notifications/initialized", ident=None)) == 202
    assert status(client.rpc("notifications/anything", ident=None)) == 202


def test_nothing_goes_without_a_session(agent: Agent) -> None:
    assert status(agent.rpc("tools/list")) == 400
    assert status(agent.call("request_egress", CRATES)) == 400
    assert agent.play.told == []


# What may be asked for


@pytest.mark.threat(77)
@pytest.mark.parametrize(
    "rule",
    [
        {"host": "*"}, {"host": "com"}, {"host": "*.example.com"}, {"host": "10.0.0.0/8"}, {"host": "169.254.169.254"},
        {"host": "metadata.google.internal"}, {"host": "localhost"}, {"host": "bottle.internal"}, {"host": "bücher.example"},
        {"host": "a.example", "port": 0}, {"host": "a.example", "port": "443"}, {"host": "a.example", "port": 3128},
        {"host": "a.example", "port": 53}, {"host": "a.example", "paths": ["x"]}, {"host": "a.example", "methods": ["get"]},
        {"host": "a.example", "methods": ["CONNECT"]}, {"host": "a.example", "tls": "off"}, {"host": "a.example", "extra": 1},
        {"host": "a.example", "credential": "x"}, {"host": "a.example", "origin": "grant g-1"}, {"host": "a\r\n.example"},
        {"host": "a.example", "paths": ["/\x1b[2J"]}, {"host": "a.example", "paths": ["/" + "a" * 600]}, {}, "a.example",
        None,
    ],
)  # fmt: skip
def test_what_may_never_be_granted_is_refused_with_the_reason_before_anyone_is_asked(client: Agent, rule: object) -> None:
    found = result(client.call("request_egress", {"rules": [rule], "reason": "please"}))
    assert found["isError"] is True
    assert found["content"][0]["text"]
    answer = client.post("/request", {"kind": "egress", "rules": [rule], "reason": "please"})
    assert status(answer) == 400
    assert said(answer)["error"]
    assert client.play.told == []


@pytest.mark.threat(77)
@pytest.mark.parametrize(
    ("tool", "arguments"),
    [
        ("request_credential", {"name": "github", "host": "api.github.com", "paths": ["/**"]}),
        ("request_credential", {"name": "", "host": "api.github.com"}),
        ("request_credential", {"name": "github", "host": "api.github.com", "port": 80}),
        ("request_port", {"host": "db.example.com"}), ("request_port", {"host": "db.example.com", "port": 70000}),
        ("request_budget", {"egress_bytes": -1}), ("request_budget", {"egress_bytes": 1 << 50}),
        ("request_budget", {"egress_bytes": True}),
        ("request_budget", {"usd": 0.001}), ("request_budget", {"usd": "1"}),
        ("request_budget", {"usd": 1, "egress_bytes": 1}), ("request_budget", {}),
        ("request_egress", {"rules": []}), ("request_egress", {"rules": "x"}),
        ("request_egress", {"rules": [{"host": f"h{n}.example"} for n in range(9)]}), ("request_egress", {}),
        ("request_egress", {"rules": [{"host": "a.example"}], "also": 1}),
        ("request_egress", {"rules": [{"host": "a.example"}], "wait_seconds": -1}),
        ("request_egress", {"rules": [{"host": "a.example"}], "wait_seconds": "long"}),
        ("request_egress", {"rules": [{"host": "a.example"}], "reason": ""}),
        ("request_egress", {"rules": [{"host": "a.example"}], "reason": "x" * 2001}),
        ("request_egress", {"rules": [{"host": "a.example"}], "reason": 7}),
        ("request_capability", {"apt": "ripgrep"}), ("request_capability", {}),
    ],
)  # fmt: skip
def test_a_call_that_makes_no_sense_is_told_so_and_asks_nobody(
    client: Agent, tool: str, arguments: dict[str, object]
) -> None:
    found = result(client.call(tool, {"reason": "please", **arguments}))
    assert found["isError"] is True
    assert client.play.told == []


def test_each_tool_asks_for_its_kind_of_change(client: Agent) -> None:
    client.call(
        "request_credential", {"name": "github", "host": "api.github.com", "paths": ["/repos/acme/**"], "reason": "r"}
    )
    assert client.asked["change"]["kind"] == "credential"
    assert client.asked["change"]["rule"]["credential"] == "github"
    client.keeper("rejected", ticket=True)
    client.call("request_port", {"host": "db.example.com", "port": 5432, "reason": "r"})
    assert client.asked["change"]["rules"] == [
        {"host": "db.example.com", "port": 5432, "methods": [], "paths": [], "tls": "tunnel", "credential": None}
    ]
    client.keeper("rejected", ticket=True)
    client.call("request_budget", {"egress_bytes": 1000, "reason": "r"})
    assert client.asked["change"] == {"kind": "budget", "egress_bytes": 1000}
    client.keeper("rejected", ticket=True)
    client.call("request_budget", {"usd": 2.5, "reason": "r"})
    assert client.asked["change"] == {"kind": "money", "usd": 2.5}


def test_a_place_that_the_operator_named_may_be_asked_for(make_state: MakeState) -> None:
    state = make_state()
    state.operator_named = (("build.internal", 443),)
    agent = Agent(state)
    agent.begin()
    agent.call("request_egress", {"rules": [{"host": "build.internal"}], "reason": "r"})
    assert agent.asked["change"]["rules"][0]["host"] == "build.internal"


@pytest.mark.threat(74)
def test_a_flood_of_requests_is_told_to_stop(agent: Agent) -> None:
    moment = [0.0]
    agent.state.clock = lambda: moment[0]
    answers = [Agent(agent.state).post("/request", CHANGE) for _ in range(200)]
    assert [status(answer) for answer in answers if answer] == [429] * (200 - limits.ASKS)
    moment[0] += limits.ASK_EVERY
    assert Agent(agent.state).post("/request", CHANGE) == b""  # it waits for the keeper's word


@pytest.mark.threat(74)
def test_those_who_wait_are_bounded(agent: Agent, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "WAITS", 3)
    clients = [Agent(agent.state) for _ in range(4)]
    answers = [one.post("/request?wait=60", CHANGE) for one in clients]
    assert [status(answer) if answer else 0 for answer in answers] == [0, 0, 0, 429]
    clients[0].play.event(core.Lost(CLIENT))
    assert clients[0].state.pages.desk.waiting == 2


@pytest.mark.threat(75)
@pytest.mark.parametrize("op", ["approve", "reject", "policy", "request", "listener", "credentials", "resume", "stop"])
def test_nothing_an_agent_says_decides_anything(client: Agent, op: str) -> None:
    client.call("request_egress", CRATES)
    client.keeper("submitted", ticket=True)
    before = client.state.policy
    other = Agent(client.state)
    other.session = client.session
    other.rpc(op, {"id": "q-1", "state": "applied"})
    other.rpc(f"notifications/{op}", {"id": "q-1", "ticket": client.asked["ticket"], "state": "applied"}, ident=None)
    other.post("/request", {"op": op, "id": "q-1", "state": "applied", "reason": "r"})
    other.post(f"/request/q-1/{op}", {"state": "applied"})
    other.send("PUT", "/request/q-1", b'{"state":"applied"}')
    other.post("/policy", {"granted": [{"host": "crates.io"}]})
    assert client.state.policy is before
    assert client.play.answer() == b""
    assert [told["op"] for told in [*client.play.told, *other.play.told]] == ["ask"]
    assert client.state.pages.desk.known() == [{"id": "q-1", "state": "submitted", "text": ""}]


# Without MCP


def test_a_plain_post_is_answered_with_its_id(agent: Agent) -> None:
    assert agent.post("/request", CHANGE) == b""
    answer = agent.keeper("submitted", "the operator has been asked", ticket=True)
    assert status(answer) == 202
    assert said(answer) == {"id": "q-1", "state": "submitted", "decided": False, "text": "the operator has been asked"}
    assert agent.asked["via"] == "http"


def test_a_plain_post_may_wait_for_the_decision(agent: Agent) -> None:
    agent.post("/request?wait=600", CHANGE)
    assert agent.keeper("submitted", ticket=True) == b""
    answer = agent.keeper("applied", "granted")
    assert (status(answer), said(answer)["state"]) == (200, "applied")


def test_a_wait_ends_at_its_time(agent: Agent) -> None:
    moment = [0.0]
    agent.state.clock = lambda: moment[0]
    agent.post("/request?wait=5", CHANGE)
    agent.keeper("submitted", ticket=True)
    moment[0] = 5.0
    agent.play.event(core.Expired())
    assert status(agent.play.answer()) == 202


def test_a_plain_client_may_have_the_news_as_events(agent: Agent) -> None:
    begun = agent.post("/request", CHANGE, Accept="text/event-stream")
    assert header(begun, "content-type") == "text/event-stream"
    assert events(agent.keeper("submitted", ticket=True))[0]["state"] == "submitted"
    last = agent.keeper("rejected", "no")
    assert events(last)[-1] == {"id": "q-1", "state": "rejected", "decided": True, "text": "no"}
    assert last.endswith(b"0\r\n\r\n")


def test_an_old_client_has_its_events_to_the_end_of_the_connection(agent: Agent) -> None:
    body = json.dumps(CHANGE).encode()
    head = (
        b"POST /request HTTP/1.0\r\nHost: bottle.internal\r\nContent-Type: application/json\r\nAccept: text/event-stream\r\n"
    )
    begun = agent.play.client(head + b"Content-Length: %d\r\n\r\n" % len(body) + body)
    assert b"chunked" not in begun
    assert b"rejected" in agent.keeper("rejected", ticket=True)
    assert agent.play.closed


def test_what_became_of_a_request_can_be_asked_by_id(agent: Agent) -> None:
    agent.post("/request", CHANGE)
    agent.keeper("submitted", ticket=True)
    assert status(agent.send("GET", "/request/q-1")) == 202
    assert agent.send("GET", "/request/q-1?wait=60") == b""
    assert said(agent.keeper("applied", "granted"))["text"] == "granted"
    assert status(agent.send("GET", "/request/q-1")) == 200
    assert status(agent.send("GET", "/request/q-other")) == 404
    assert [one["id"] for one in said(agent.send("GET", "/request"))["requests"]] == ["q-1"]


@pytest.mark.parametrize("body", [b"x" * (limits.OWN_BODY + 1), b"{}", b"[]", b"{", b'{"kind":"egress","kind":"budget"}'])
def test_a_body_that_is_none_or_too_large_is_refused(agent: Agent, body: bytes) -> None:
    answer = agent.send("POST", "/request", body)
    assert status(answer) in (400, 413)
    assert agent.play.told == []


def test_a_chunked_body_is_bounded_too(agent: Agent) -> None:
    head = b"POST /request HTTP/1.1\r\nHost: bottle.internal\r\nContent-Type: application/json\r\n"
    agent.play.client(head + b"Transfer-Encoding: chunked\r\n\r\n")
    answer = b""
    for _ in range(20):
        answer += agent.play.client(b"2000\r\n" + b"x" * 0x2000 + b"\r\n")
    assert status(answer) == 413
    assert answer.count(b"HTTP/1.1 ") == 1
    assert agent.play.closed


def test_a_request_sent_behind_another_is_answered_after_it(agent: Agent) -> None:
    body = json.dumps(CHANGE).encode()
    head = b"POST /request HTTP/1.1\r\nHost: bottle.internal\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
    assert agent.play.client(head % len(body) + body + b"GET /policy HTTP/1.1\r\nHost: bottle.internal\r\n\r\n") == b""
    answers = agent.keeper("submitted", ticket=True)
    assert answers.startswith(b"HTTP/1.1 202 ")
    assert b"HTTP/1.1 200 OK" in answers


@settings(deadline=None)
@given(st.lists(st.integers(1, 60), max_size=8))
def test_however_a_request_arrives_it_is_the_same_one(sizes: list[int]) -> None:
    from claude_bottle.model.policy import Policy

    agent = Agent(GateState(Policy([PLAIN]), lambda origin: None))  # type: ignore[arg-type,return-value]
    body = json.dumps(CHANGE).encode()
    head = b"POST /request HTTP/1.1\r\nHost: bottle.internal\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
    for piece in split(head % len(body) + body, sizes):
        assert agent.play.client(piece) == b""
    assert agent.asked["change"]["rules"][0]["host"] == "crates.io"


@settings(deadline=None)
@given(st.binary(max_size=400), st.sampled_from(["/mcp", "/request"]))
def test_any_body_is_answered_and_asks_nobody(body: bytes, path: str) -> None:
    from claude_bottle.model.policy import Policy

    agent = Agent(GateState(Policy([PLAIN]), lambda origin: None))  # type: ignore[arg-type,return-value]
    assert status(agent.send("POST", path, body or b" ")) in (400, 200)
    assert agent.play.told == []


# What is shown


def test_the_policy_page_shows_what_the_agent_may_know(make_state: MakeState) -> None:
    rule = Rule(HOST, credential="api", paths=("/v1/**",), note="the operator's note", origin="/home/op/claude-bottle.json")
    agent = Agent(make_state(rule, credentials=(bound((HOST, 443)),)))
    shown = said(agent.send("GET", "/policy"))
    assert shown["credentials"][0]["header"] == "x-api-key"
    assert "placeholder" in shown["credentials"][0]["value"]
    text = json.dumps(shown)
    assert "SECRET" not in text
    assert "/home/op" not in text
    assert "note" not in text
    agent.begin()
    assert result(agent.call("my_policy", {}))["structuredContent"]["granted"] == shown["granted"]


@pytest.mark.parametrize("place", [("https", 443), ("port-8080", 8080)])
def test_only_the_gates_own_name_on_port_80_serves_them(make_state: MakeState, place: tuple[str, int]) -> None:
    play = Playbook(make_state(PLAIN), place[0], "198.18.0.1", place[1])
    answer = play.client(b"GET /policy HTTP/1.1\r\nHost: bottle.internal\r\n\r\n")
    assert b'granted":' not in answer


def test_a_program_that_uses_the_explicit_proxy_reaches_them_too(make_state: MakeState) -> None:
    play = Playbook(make_state(PLAIN))
    answer = play.client(b"GET http://bottle.internal/policy HTTP/1.1\r\nHost: bottle.internal\r\n\r\n")
    assert said(answer)["granted"][0]["host"] == HOST


@pytest.mark.threat(123)
@pytest.mark.parametrize("name", ["Host", "X-Forwarded-Host", "Forwarded", "X-Bottle-Identity", "Proxy-Authorization"])
def test_what_a_request_says_of_who_it_is_from_changes_nothing(agent: Agent, name: str) -> None:
    plain = Agent(agent.state).send("GET", "/policy")
    body = b"GET /policy HTTP/1.1\r\nHost: bottle.internal\r\n" + f"{name}: other-bottle\r\n\r\n".encode()
    answer = agent.play.client(body)
    assert status(answer) == 400 if name == "Host" else answer == plain


def test_what_the_keeper_says_reaches_the_agent_without_controls(client: Agent) -> None:
    client.call("request_egress", CRATES)
    (message,) = events(client.keeper("rejected", "no\x1b]0;x\x07 way\u202e", ticket=True))
    text = message["result"]["content"][0]["text"]
    assert "\x1b" not in text
    assert "\u202e" not in text
