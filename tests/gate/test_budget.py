"""What a bottle may send is counted as it goes up, on everything together, and what is over the budget does not."""

from __future__ import annotations

import socket
import ssl
import threading
from dataclasses import replace

import pytest

from claude_bottle.gate import limits
from claude_bottle.gate.budget import Budget
from claude_bottle.gate.config import GateConfig
from claude_bottle.model import policy as reasons
from claude_bottle.model.policy import Rule
from claude_bottle.testing.playbook import Playbook
from tests.gate.conftest import HOST, MakeState, Recorded, Rig, RunningGate, read_head, read_response
from tests.gate.keeper import Keeper
from tests.gate.test_http import body
from tests.waiting import SECONDS

PLAIN, OPAQUE = Rule(HOST, port=80), Rule(HOST, port=2222, tls="tunnel")
GET = b"GET /x HTTP/1.1\r\nHost: api.example.com\r\n\r\n"
UP = len(b"GET /x HTTP/1.1\r\nhost: api.example.com\r\n\r\n")
ANSWER = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


def post(size: int) -> bytes:
    return b"POST /x HTTP/1.1\r\nHost: api.example.com\r\nContent-Length: %d\r\n\r\n" % size


def conversation(make_state: MakeState, limit: int | None) -> Playbook:
    state = make_state(PLAIN)
    state.budget.limit = limit
    return Playbook(state, "http", state.book.address(HOST) or "", 80)


def test_what_goes_up_is_counted(make_state: MakeState) -> None:
    play = conversation(make_state, None)
    play.client(GET)
    play.dialled(1)
    play.upstream(1, ANSWER)
    play.client(post(3) + b"abc")
    assert play.logic.state.budget.spent == play.upstream_bytes()


def test_a_request_within_the_budget_goes_and_the_next_is_refused_with_how_to_ask(make_state: MakeState) -> None:
    play = conversation(make_state, UP)
    play.client(GET)
    assert len(play.dialled(1)) == UP
    assert play.upstream(1, ANSWER).endswith(b"ok")
    said = body(play.client(GET))
    assert (said["reason"], said["blocked"]) == (reasons.BUDGET_SPENT, True)
    assert "request_budget" in str(said["ask"])
    assert play.decisions[-1]["reason"] == reasons.BUDGET_SPENT
    assert play.upstream_bytes() == UP


def test_a_head_that_is_larger_than_what_is_left_does_not_go(make_state: MakeState) -> None:
    play = conversation(make_state, UP - 1)
    play.client(GET)
    assert play.dialled(1) == b""
    assert body(play.answer())["reason"] == reasons.BUDGET_SPENT
    assert play.upstream_bytes() == 0


def test_an_upload_is_ended_where_the_budget_is(make_state: MakeState) -> None:
    play = conversation(make_state, 1000)
    play.client(post(5000) + b"x" * 500)
    play.dialled(1)
    said = body(play.client(b"x" * 600))
    assert said["reason"] == reasons.BUDGET_SPENT
    assert play.upstream_bytes() <= 1000
    assert play.closed


def test_an_upload_whose_answer_has_begun_is_cut(make_state: MakeState) -> None:
    play = conversation(make_state, 1000)
    play.client(post(5000) + b"x" * 500)
    play.dialled(1)
    play.upstream(1, b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf")
    play.client(b"x" * 600)
    assert play.closed
    assert play.decisions[-1]["reason"] == reasons.BUDGET_SPENT


def tunnel(gate: RunningGate) -> socket.socket:
    sock = gate.connect()
    sock.sendall(f"CONNECT {HOST}:2222 HTTP/1.1\r\nHost: {HOST}:2222\r\n\r\n".encode())
    sock.settimeout(SECONDS)
    assert read_head(sock).startswith(b"HTTP/1.1 200")
    return sock


@pytest.fixture
def swallower() -> tuple[list[int], threading.Event, object]:
    """A server that counts what reaches it, to the end."""
    sizes: list[int] = []
    over = threading.Event()

    def swallow(connection: Recorded) -> None:
        try:
            while data := connection.sock.recv(65536):
                sizes.append(len(data))
        except OSError:
            pass
        over.set()

    return sizes, over, swallow


@pytest.mark.parametrize("limit", [1, 100_000, 3_000_000])
def test_a_tunnel_ends_at_the_last_byte_of_the_budget(rig: Rig, swallower: tuple, limit: int) -> None:  # type: ignore[type-arg]
    sizes, over, swallow = swallower
    gate = rig.gate(OPAQUE, to={(HOST, 2222): rig.server(swallow, tls=False)})
    keeper = Keeper(gate)
    keeper.policy(1, OPAQUE, egress_bytes=limit)
    with tunnel(gate) as client:
        try:
            for _ in range(limit // 65536 + 50):
                client.sendall(b"x" * 65536)
        except OSError:
            pass
        assert over.wait(SECONDS)
    assert sum(sizes) <= limit
    assert gate.state.budget.spent == limit
    said = str([keeper.expect("event") for _ in range(3)])
    assert reasons.BUDGET_SPENT in said


def test_over_tls_a_spent_budget_is_told_in_words(rig: Rig, bottle_trust: ssl.SSLContext) -> None:
    gate = rig.gate(Rule(HOST), Rule(HOST, port=2222, tls="tunnel"), budget=Budget(0))
    with gate.tunnel(bottle_trust) as client:
        client.sendall(GET)
        assert body(read_response(client))["reason"] == reasons.BUDGET_SPENT
    with gate.connect() as client:
        client.sendall(f"CONNECT {HOST}:2222 HTTP/1.1\r\nHost: {HOST}:2222\r\n\r\n".encode())
        assert body(read_response(client))["reason"] == reasons.BUDGET_SPENT


def test_a_larger_budget_is_in_force_at_once(rig: Rig) -> None:
    gate = rig.gate(PLAIN, to={(HOST, 80): rig.server(tls=False)})
    keeper = Keeper(gate)
    keeper.policy(1, PLAIN, egress_bytes=0)

    def ask() -> bytes:
        with gate.connect() as client:
            client.sendall(b"GET http://api.example.com/x HTTP/1.1\r\nHost: api.example.com\r\n\r\n")
            return read_response(client)

    assert body(ask())["reason"] == reasons.BUDGET_SPENT
    keeper.policy(2, PLAIN, egress_bytes=1000)
    assert ask().endswith(b"hello")
    keeper.policy(3, PLAIN)  # without a word about it, it stays
    assert gate.state.budget.limit == 1000
    keeper.policy(4, PLAIN, egress_bytes=None)
    assert gate.state.budget.left is None


def test_the_keeper_is_told_what_was_spent(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "SPENT_EVERY", 0.02)
    gate = rig.gate(PLAIN, to={(HOST, 80): rig.server(tls=False)}, budget=Budget(10_000, spent=500))
    keeper = Keeper(gate)
    with gate.connect() as client:
        client.sendall(b"GET http://api.example.com/x HTTP/1.1\r\nHost: api.example.com\r\n\r\n")
        assert read_response(client).endswith(b"hello")
    assert keeper.expect("spent")["egress_bytes"] == 500 + UP


def test_the_last_word_of_a_gate_is_what_was_spent(rig: Rig) -> None:
    gate = rig.gate(PLAIN, to={(HOST, 80): rig.server(tls=False)})
    keeper = Keeper(gate)
    with gate.connect() as client:
        client.sendall(b"GET http://api.example.com/x HTTP/1.1\r\nHost: api.example.com\r\n\r\n")
        assert read_response(client).endswith(b"hello")
    keeper.tell("stop")
    assert keeper.expect("spent")["egress_bytes"] == UP


def test_a_budget_travels_with_the_configuration() -> None:
    config = GateConfig("test-abc123", (), egress_bytes=5000, egress_spent=17, money=8, money_spent=9)
    again = GateConfig.from_wire(config.to_wire())
    assert (again.egress_bytes, again.egress_spent, again.money, again.money_spent) == (5000, 17, 8, 9)
    assert replace(again, egress_bytes=None).egress_bytes is None
