"""The policy replaced while the bottle runs: what is granted works at once, what is revoked ends, one use is one use."""

from __future__ import annotations

import socket
import ssl
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from claude_bottle.gate import control
from claude_bottle.gate.config import credential_to_wire
from claude_bottle.model import policy as reasons
from claude_bottle.model.policy import Rule
from claude_bottle.testing.playbook import Playbook
from tests.gate.conftest import (
    HOST,
    OTHER,
    PLACEHOLDER,
    SECRET,
    MakeState,
    Recorded,
    RecordingServer,
    Rig,
    RunningGate,
    bound,
    read_head,
    read_response,
)  # fmt: skip
from tests.gate.keeper import Keeper
from tests.gate.test_dns import answers, code, query
from tests.gate.test_http import body
from tests.gate.test_server import Stream
from tests.waiting import SECONDS

PLAIN, OPAQUE = Rule(HOST, port=80), Rule(HOST, port=2222, tls="tunnel")
PROXY_GET = b"GET http://api.example.com/x HTTP/1.1\r\nHost: api.example.com\r\n\r\n"


def of_grant(rule: Rule, grant: str = "g-1") -> Rule:
    return Rule.from_dict({**rule.to_dict(), "origin": f"grant {grant}"})


def ask(gate: RunningGate, request: bytes = PROXY_GET) -> bytes:
    with gate.connect() as client:
        client.sendall(request)
        return read_response(client)


def tunnel(gate: RunningGate, port: int = 2222) -> socket.socket:
    sock = gate.connect()
    sock.sendall(f"CONNECT {HOST}:{port} HTTP/1.1\r\nHost: {HOST}:{port}\r\n\r\n".encode())
    sock.settimeout(SECONDS)
    return sock


def ended(sock: socket.socket) -> bool:
    """Whether the peer ends it, whatever it sends before."""
    sock.settimeout(SECONDS)
    try:
        while sock.recv(65536):
            pass
    except ConnectionError:
        pass
    return True


class Echo:
    """Echoes until the end; says when a connection has ended."""

    def __init__(self) -> None:
        self.over = threading.Semaphore(0)

    def __call__(self, connection: Recorded) -> None:
        try:
            while data := connection.receive():
                connection.sock.sendall(data)
        finally:
            self.over.release()


class Endless:
    """Answers each request with the beginning of a stream that never ends."""

    def __init__(self) -> None:
        self.over = threading.Semaphore(0)

    def __call__(self, connection: Recorded) -> None:
        connection.request()
        connection.sock.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n")
        try:
            while connection.receive():
                pass
        finally:
            self.over.release()


# Granting


def test_a_newly_granted_host_is_reached_without_a_restart(rig: Rig) -> None:
    server = rig.server(tls=False)
    gate = rig.gate(to={(HOST, 80): server}, names=("proxy", "dns-udp"))
    keeper = Keeper(gate)
    assert body(ask(gate))["reason"] == reasons.HOST_NOT_GRANTED
    keeper.policy(1, of_grant(PLAIN))
    assert ask(gate).endswith(b"hello")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as resolver:
        resolver.settimeout(SECONDS)
        resolver.sendto(query(HOST), ("127.0.0.1", gate.ports["dns-udp"]))
        assert (code(wire := resolver.recv(512)), answers(wire)) == (0, 1)


def test_an_inspected_host_may_be_granted_to_a_bottle_that_began_with_none(rig: Rig, bottle_trust: ssl.SSLContext) -> None:
    gate = rig.gate(to={(HOST, 443): rig.server()})
    Keeper(gate).policy(1, of_grant(Rule(HOST)))
    with gate.tunnel(bottle_trust) as client:
        client.sendall(b"GET /x HTTP/1.1\r\nHost: api.example.com\r\n\r\n")
        assert read_response(client).endswith(b"hello")


def test_a_credential_arrives_with_the_policy_that_needs_it(rig: Rig, bottle_trust: ssl.SSLContext) -> None:
    server = rig.server()
    gate = rig.gate(to={(HOST, 443): server})
    keeper = Keeper(gate)
    rule = of_grant(Rule(HOST, credential="api", paths=("/x",)))
    keeper.tell("policy", revision=1, rules=[rule.to_dict()])
    assert "no credential api" in str(keeper.expect("policy_refused")["why"])
    keeper.policy(2, rule, credentials=[credential_to_wire(bound((HOST, 443)))])
    with gate.tunnel(bottle_trust) as client:
        client.sendall(f"GET /x HTTP/1.1\r\nHost: {HOST}\r\nx-api-key: {PLACEHOLDER}\r\n\r\n".encode())
        assert read_response(client).endswith(b"hello")
    assert SECRET.encode() in server.received


def test_a_listener_that_arrives_late_is_served(rig: Rig) -> None:
    gate = rig.gate()
    keeper, rule = Keeper(gate), of_grant(Rule(HOST, port=5432, tls="tunnel"))
    keeper.tell("policy", revision=1, rules=[rule.to_dict()])
    assert "nothing in the bottle listens on port 5432" in str(keeper.expect("policy_refused")["why"])
    with socket.create_server(("127.0.0.1", 0)) as late:
        keeper.give("port-5432", late)
        keeper.policy(2, rule)
        with socket.create_connection(late.getsockname(), timeout=SECONDS) as client:
            client.sendall(b"GET / HTTP/1.1\r\nHost: evil.test:5432\r\n\r\n")
            assert body(read_response(client))["reason"] == reasons.HOST_NOT_GRANTED


@pytest.mark.parametrize("name", ["http", "proxy", "dns-udp", "port-99999", "nonsense"])
def test_a_listener_with_a_name_of_its_own_is_refused(rig: Rig, name: str) -> None:
    keeper = Keeper(rig.gate(PLAIN))
    with socket.create_server(("127.0.0.1", 0)) as late:
        keeper.give(name, late)
        assert "unknown name" in str(keeper.expect("fault")["what"])
    keeper.tell("listener", name="port-5432")
    assert "without its socket" in str(keeper.expect("fault")["what"])


def test_a_descriptor_that_nobody_has_asked_for_is_closed(rig: Rig) -> None:
    gate = rig.gate(PLAIN)
    ours, theirs = socket.socketpair()
    with ours:
        socket.send_fds(gate.keeper, [control.encode("resume")], [theirs.fileno()])
        theirs.close()
        ours.settimeout(SECONDS)
        assert ours.recv(1) == b""


def test_what_is_handed_over_as_a_listener_must_be_one(rig: Rig) -> None:
    keeper = Keeper(rig.gate(PLAIN))
    one, other = socket.socketpair()
    with one, other:
        keeper.give("port-5432", one)
        assert "not an IPv4 socket" in str(keeper.expect("fault")["what"])


@pytest.mark.parametrize(
    "wrong",
    [
        {"rules": [{"host": "*"}]}, {"rules": "all"}, {"rules": [7]}, {}, {"rules": [], "once": 3},
        {"rules": [OPAQUE.to_dict(), Rule(HOST, port=2222).to_dict()]}, {"rules": [], "credentials": [{}]},
        {"rules": [], "egress_bytes": -1}, {"rules": [], "money": 1.5}, {"rules": [], "credentials": 7},
    ],
)  # fmt: skip
def test_a_policy_that_is_none_changes_nothing(rig: Rig, wrong: dict[str, object]) -> None:
    gate = rig.gate(PLAIN, to={(HOST, 80): rig.server(tls=False)})
    keeper = Keeper(gate)
    keeper.tell("policy", revision=4, **wrong)
    assert keeper.expect("policy_refused")["revision"] == 4
    assert ask(gate).endswith(b"hello")


@pytest.mark.threat(123)
def test_a_reserved_name_grants_nothing_even_when_the_keeper_sends_it(rig: Rig) -> None:
    gate = rig.gate()
    Keeper(gate).policy(1, Rule("metadata.google.internal", port=80))
    answer = ask(gate, b"GET http://metadata.google.internal/ HTTP/1.1\r\nHost: metadata.google.internal\r\n\r\n")
    assert body(answer)["reason"] == reasons.HOST_NOT_GRANTED


# Revoking


def test_a_revoked_name_is_not_answered_and_its_address_is_never_anothers(rig: Rig) -> None:
    gate = rig.gate(PLAIN, names=("dns-udp",))
    before = gate.state.book.address(HOST)
    keeper = Keeper(gate)
    keeper.policy(1, Rule(OTHER, port=80))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as resolver:
        resolver.settimeout(SECONDS)
        resolver.sendto(query(HOST), ("127.0.0.1", gate.ports["dns-udp"]))
        assert code(resolver.recv(512)) == 3
    assert gate.state.book.address(OTHER) != before
    keeper.policy(2, PLAIN)
    assert gate.state.book.address(HOST) == before


def test_a_revoked_tunnel_is_cut_on_both_sides(rig: Rig) -> None:
    echo = Echo()
    gate = rig.gate(of_grant(OPAQUE), to={(HOST, 2222): rig.server(echo, tls=False)})
    keeper = Keeper(gate)
    with tunnel(gate) as client:
        assert read_head(client).startswith(b"HTTP/1.1 200")
        client.sendall(b"before")
        assert client.recv(100) == b"before"
        keeper.policy(1)
        assert ended(client)
        assert echo.over.acquire(timeout=SECONDS)
    said = [keeper.expect("event") for _ in range(3)]  # granted, refused, what went through
    assert "not granted any more" in str(said[-1])


def test_a_revoked_stream_is_cut_and_cannot_be_taken_for_whole(rig: Rig, bottle_trust: ssl.SSLContext) -> None:
    endless = Endless()
    gate = rig.gate(of_grant(Rule(HOST)), to={(HOST, 443): rig.server(endless)})
    keeper = Keeper(gate)
    with gate.tunnel(bottle_trust) as client:
        client.sendall(b"GET /x HTTP/1.1\r\nHost: api.example.com\r\n\r\n")
        assert read_head(client).startswith(b"HTTP/1.1 200")
        assert b"one" in client.recv(100)
        keeper.policy(1)
        client.settimeout(SECONDS)
        rest = b""
        while data := client.recv(100):
            rest += data
        assert not rest.endswith(b"0\r\n\r\n")
        assert endless.over.acquire(timeout=SECONDS)


def test_a_request_that_waits_for_its_answer_is_told_when_it_is_revoked(rig: Rig) -> None:
    begun = threading.Event()

    def silent(connection: Recorded) -> None:
        connection.request()
        begun.set()
        connection.receive()

    gate = rig.gate(of_grant(PLAIN), to={(HOST, 80): rig.server(silent, tls=False)})
    keeper = Keeper(gate)
    with gate.connect() as client:
        client.sendall(PROXY_GET)
        assert begun.wait(SECONDS)
        keeper.policy(1)
        answer = body(read_response(client))
    assert (answer["reason"], answer["blocked"]) == (reasons.HOST_NOT_GRANTED, True)


def test_what_another_rule_grants_as_well_goes_on(rig: Rig) -> None:
    stream = Stream()
    gate = rig.gate(of_grant(PLAIN), to={(HOST, 80): rig.server(stream, tls=False)})
    keeper = Keeper(gate)
    with gate.connect() as client:
        client.sendall(PROXY_GET)
        assert read_head(client).startswith(b"HTTP/1.1 200")
        keeper.policy(1, Rule(HOST, port=80, methods=("GET",)))
        keeper.policy(2, of_grant(Rule(HOST, port=80, paths=("/x",)), "g-2"), Rule(OTHER))
        stream.go.release()
        assert b"data: 0" in client.recv(100)
        keeper.policy(3, of_grant(Rule(HOST, port=80, paths=("/y",)), "g-2"))
        assert ended(client)
    stream.go.release(2)


def test_a_narrower_rule_cuts_what_it_does_not_cover(make_state: MakeState) -> None:
    state = make_state(PLAIN)
    rule = state.policy.rules[0]
    state.replace_policy([Rule(HOST, port=80, methods=("GET",))], revision=1)
    assert state.stands(rule, HOST, 80, "GET", "/x", tls=False)
    assert not state.stands(rule, HOST, 80, "POST", "/x", tls=False)


def test_a_request_with_a_credential_does_not_go_on_by_a_rule_without(make_state: MakeState) -> None:
    rule = Rule(HOST, credential="api", paths=("/x",))
    state = make_state(rule, credentials=(bound((HOST, 443)),))
    state.replace_policy([Rule(HOST)], revision=1)
    assert not state.stands(rule, HOST, 443, "GET", "/x", tls=True)
    assert state.stands(Rule(HOST), HOST, 443, "GET", "/x", tls=True)


def test_a_kept_link_to_a_place_that_was_revoked_is_ended(rig: Rig) -> None:
    echo_over = threading.Semaphore(0)

    def polite(connection: Recorded) -> None:
        while connection.request() is not None:
            connection.sock.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello")
        echo_over.release()

    gate = rig.gate(PLAIN, Rule(OTHER, port=80), to={(HOST, 80): rig.server(polite, tls=False)})
    keeper = Keeper(gate)
    client = gate.connect()
    client.sendall(PROXY_GET)
    assert read_response(client).endswith(b"hello")  # the link now waits for this connection's next request
    keeper.policy(1, Rule(OTHER, port=80))
    assert echo_over.acquire(timeout=SECONDS)
    client.close()


def test_a_link_in_the_pool_is_ended_too(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    from claude_bottle.gate import limits

    monkeypatch.setattr(limits, "POOL_WITHIN", 4 * SECONDS)
    over = threading.Semaphore(0)

    def polite(connection: Recorded) -> None:
        while connection.request() is not None:
            connection.sock.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello")
        over.release()

    gate = rig.gate(PLAIN, Rule(OTHER, port=80), to={(HOST, 80): rig.server(polite, tls=False)})
    keeper = Keeper(gate)
    assert ask(gate).endswith(b"hello")  # its connection has ended: the link is in the pool, or will be before the next event
    while keeper.expect("event")["event"]["kind"] != "traffic":  # type: ignore[index]
        pass
    keeper.policy(1, Rule(OTHER, port=80))
    assert over.acquire(timeout=SECONDS)


@pytest.mark.threat(40)
def test_a_redirect_to_what_was_revoked_is_judged_afresh(rig: Rig) -> None:
    def elsewhere(connection: Recorded) -> None:
        connection.request()
        connection.sock.sendall(b"HTTP/1.1 302 Found\r\nLocation: http://other.example.net/\r\nContent-Length: 0\r\n\r\n")

    other = rig.server(tls=False)
    gate = rig.gate(PLAIN, Rule(OTHER, port=80), to={(HOST, 80): rig.server(elsewhere, tls=False), (OTHER, 80): other})
    Keeper(gate).policy(1, PLAIN)
    assert b"302" in ask(gate)
    followed = ask(gate, b"GET http://other.example.net/ HTTP/1.1\r\nHost: other.example.net\r\n\r\n")
    assert body(followed)["reason"] == reasons.HOST_NOT_GRANTED
    assert other.connections == 0


@pytest.mark.threat(39)
def test_no_request_slips_through_while_the_policy_changes(rig: Rig) -> None:
    server = rig.server(tls=False)
    gate = rig.gate(PLAIN, to={(HOST, 80): server})
    keeper = Keeper(gate)
    keeper.policy(1, Rule(OTHER, port=80))
    seen = len(server.received)
    with ThreadPoolExecutor(16) as pool:
        replies = list(pool.map(lambda _: ask(gate), range(100)))
    assert all(body(reply)["reason"] == reasons.HOST_NOT_GRANTED for reply in replies)
    assert len(server.received) == seen


# One use


@pytest.fixture
def once(rig: Rig) -> tuple[RunningGate, Keeper, RecordingServer]:
    server = rig.server(tls=False)
    gate = rig.gate(to={(HOST, 80): server, (OTHER, 80): server})
    return gate, Keeper(gate), server


def test_a_grant_for_one_use_lets_one_request_through_whatever_the_concurrency(
    once: tuple[RunningGate, Keeper, RecordingServer],
) -> None:
    gate, keeper, server = once
    keeper.policy(1, of_grant(PLAIN), once=["g-1"])
    with ThreadPoolExecutor(32) as pool:
        replies = list(pool.map(lambda _: ask(gate), range(64)))
    assert sum(reply.endswith(b"hello") for reply in replies) == 1
    assert server.received.count(b"GET /x") == 1
    assert keeper.expect("used")["grant"] == "g-1"


def test_requests_in_one_packet_are_one_use(once: tuple[RunningGate, Keeper, RecordingServer]) -> None:
    gate, keeper, server = once
    keeper.policy(1, of_grant(PLAIN), once=["g-1"])
    with gate.connect() as client:
        client.sendall(PROXY_GET * 5)
        assert read_response(client).endswith(b"hello")
        assert body(read_response(client))["reason"] == reasons.HOST_NOT_GRANTED
    assert server.received.count(b"GET /x") == 1


def test_a_used_grant_stays_used_when_a_late_policy_still_has_it(once: tuple[RunningGate, Keeper, RecordingServer]) -> None:
    gate, keeper, _ = once
    keeper.policy(1, of_grant(PLAIN), once=["g-1"])
    assert ask(gate).endswith(b"hello")
    keeper.policy(2, of_grant(PLAIN), once=["g-1"])
    assert body(ask(gate))["reason"] == reasons.HOST_NOT_GRANTED
    keeper.policy(3, of_grant(PLAIN))
    assert body(ask(gate))["reason"] == reasons.HOST_NOT_GRANTED


def test_one_use_is_of_the_grant_not_of_each_of_its_rules(once: tuple[RunningGate, Keeper, RecordingServer]) -> None:
    gate, keeper, _ = once
    keeper.policy(1, of_grant(PLAIN), of_grant(Rule(OTHER, port=80)), once=["g-1"])
    assert ask(gate).endswith(b"hello")
    other = ask(gate, b"GET http://other.example.net/ HTTP/1.1\r\nHost: other.example.net\r\n\r\n")
    assert body(other)["reason"] == reasons.HOST_NOT_GRANTED


def test_what_a_lasting_rule_grants_uses_nothing_up(once: tuple[RunningGate, Keeper, RecordingServer]) -> None:
    gate, keeper, _ = once
    keeper.policy(1, Rule(HOST, port=80, methods=("GET",)), of_grant(PLAIN), once=["g-1"])
    assert ask(gate).endswith(b"hello")
    assert gate.state.once == {"g-1"}
    post = b"POST http://api.example.com/x HTTP/1.1\r\nHost: api.example.com\r\nContent-Length: 0\r\n\r\n"
    assert ask(gate, post).endswith(b"hello")
    assert body(ask(gate, post))["reason"] == reasons.METHOD_NOT_GRANTED
    assert ask(gate).endswith(b"hello")


def test_one_use_of_a_credential_is_not_spent_on_a_request_without(make_state: MakeState) -> None:
    state = make_state(Rule(HOST), credentials=(bound((HOST, 443)),))
    secret = of_grant(Rule(HOST, credential="api", paths=("/x",)))
    state.replace_policy([Rule(HOST), secret], revision=1, once=["g-1"])
    plain = state.request(HOST, 443, "GET", "/x", tls=True)
    assert plain.rule is not None and plain.rule.credential is None
    signed = state.request(HOST, 443, "GET", "/x", tls=True, signs_in=("api",))
    assert signed.rule == secret


def test_one_use_of_a_tunnel_is_one_tunnel_which_the_next_policy_leaves_alone(rig: Rig) -> None:
    echo = Echo()
    gate = rig.gate(to={(HOST, 2222): rig.server(echo, tls=False)})
    keeper = Keeper(gate)
    with socket.create_server(("127.0.0.1", 0)) as late:
        keeper.give("port-2222", late)
        keeper.policy(1, of_grant(OPAQUE), once=["g-1"])
    with tunnel(gate) as first, tunnel(gate) as second:
        heads = {read_head(sock)[:12]: sock for sock in (first, second)}
        assert heads.keys() == {b"HTTP/1.1 200", b"HTTP/1.1 403"}
        going = heads[b"HTTP/1.1 200"]
        keeper.policy(2)  # the grant is gone from it, since it has been used
        going.sendall(b"still")
        assert going.recv(100) == b"still"
        keeper.policy(3, revoked=["g-1"])
        assert ended(going)


@pytest.mark.parametrize("kind", ["inspect", "tunnel"])
def test_one_use_on_443_is_spent_once_by_two_who_have_connected(make_state: MakeState, kind: str) -> None:
    state = make_state()
    state.replace_policy([of_grant(Rule(HOST, tls=kind))], revision=1, once=["g-1"])
    first, second = (Playbook(state, "https", state.book.address(HOST) or "", 443) for _ in range(2))
    trust = ssl.create_default_context(cadata=state.authority.pem if state.authority else "")
    get = b"GET / HTTP/1.1\r\nHost: api.example.com\r\n\r\n"
    if kind == "tunnel":
        first.secure(trust, HOST)
        with pytest.raises(ssl.SSLError):
            second.secure(trust, HOST)
    else:
        first.secure(trust, HOST)
        second.secure(trust, HOST)
        first.client(get)
        assert b"host_not_granted" in second.client(get)
    assert (len(first.dials), len(second.dials)) == (1, 0)
    assert [told["grant"] for told in first.told] == ["g-1"]
