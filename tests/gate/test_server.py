"""The gate on real sockets: both kinds of TLS, tunnels, streams, many clients, the control line."""

from __future__ import annotations

import json
import select
import socket
import ssl
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from claude_bottle.gate import control, limits
from claude_bottle.model import policy as reasons
from claude_bottle.model.policy import Rule
from tests.gate.conftest import HOST, OTHER, PLACEHOLDER, SECRET, Recorded, Rig, RunningGate, bound, read_head, read_response
from tests.gate.keeper import Keeper
from tests.gate.test_http import body
from tests.waiting import SECONDS

GET = b"GET /x HTTP/1.1\r\nHost: api.example.com\r\n\r\n"
PROXY_GET = b"GET http://api.example.com/x HTTP/1.1\r\nHost: api.example.com\r\n\r\n"
PLAIN = Rule(HOST, port=80)
OPAQUE = Rule(HOST, port=2222, tls="tunnel")


def open_tunnel(gate: RunningGate, port: int = 2222) -> socket.socket:
    sock = gate.connect()
    sock.sendall(f"CONNECT {HOST}:{port} HTTP/1.1\r\nHost: {HOST}:{port}\r\n\r\n".encode())
    assert read_head(sock).startswith(b"HTTP/1.1 200")
    return sock


def read_all(sock: socket.socket) -> int:
    total = 0
    while data := sock.recv(1 << 18):
        total += len(data)
    return total


def test_an_inspected_request_reaches_the_granted_server(rig: Rig, bottle_trust: ssl.SSLContext) -> None:
    server = rig.server()
    gate = rig.gate(Rule(HOST), to={(HOST, 443): server})
    with gate.tunnel(bottle_trust) as client:
        client.sendall(GET)
        assert read_response(client).endswith(b"hello")
    assert server.received.startswith(b"GET /x HTTP/1.1\r\nhost: api.example.com\r\n")


def test_the_server_gets_the_secret_and_the_journal_does_not(rig: Rig, bottle_trust: ssl.SSLContext) -> None:
    server = rig.server()
    gate = rig.gate(Rule(HOST, credential="api", paths=("/x",)), to={(HOST, 443): server}, credentials=(bound((HOST, 443)),))
    keeper = Keeper(gate)
    with gate.tunnel(bottle_trust) as client:
        client.sendall(GET[:-2] + f"x-api-key: {PLACEHOLDER}\r\n\r\n".encode())
        read_response(client)
        client.sendall(GET[:-2] + b"x-api-key: attacker\r\n\r\n")
        assert body(read_response(client))["reason"] == reasons.CREDENTIAL_FOREIGN
    assert SECRET.encode() in server.received
    assert b"attacker" not in server.received
    said = json.dumps([keeper.next() for _ in range(3)])
    assert SECRET not in said


@pytest.mark.parametrize("data", [b"SSH-2.0-OpenSSH_9.2\r\n", b"\0\1\2\3", GET])
@pytest.mark.parametrize("kind", ["inspect", "tunnel"])
def test_what_is_not_tls_on_443_is_closed_before_a_server_hears_of_it(rig: Rig, kind: str, data: bytes) -> None:  # threats 42
    server = rig.server()
    gate = rig.gate(Rule(HOST, tls=kind), to={(HOST, 443): server})
    with open_tunnel(gate, 443) as client:
        client.sendall(data)
        client.settimeout(SECONDS)
        assert len(client.recv(100)) in (0, 7)  # nothing, or an alert
    assert server.connections == 0


def test_a_relay_in_the_bottle_gains_nothing(rig: Rig) -> None:  # threats 39
    server = rig.server(tls=False)
    gate = rig.gate(PLAIN, to={(HOST, 80): server})

    def attempt(number: int) -> bytes:
        host = HOST if number % 2 else "evil.test"
        with gate.connect() as client:
            client.sendall(f"GET http://{host}/{number} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
            return read_response(client)

    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(attempt, range(200)))
    assert all((b" 200 " in answer) == bool(number % 2) for number, answer in enumerate(answers))
    assert b"evil" not in server.received


def test_thirty_two_clients_at_once_are_all_served(rig: Rig, bottle_trust: ssl.SSLContext) -> None:
    server = rig.server()
    gate = rig.gate(Rule(HOST), to={(HOST, 443): server})

    def attempt(number: int) -> bool:
        with gate.tunnel(bottle_trust) as client:
            for _ in range(3):
                client.sendall(GET)
                if not read_response(client).endswith(b"hello"):
                    return False
        return True

    with ThreadPoolExecutor(32) as pool:
        assert all(pool.map(attempt, range(96)))


def test_connections_above_the_cap_wait_and_are_served_later(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "CONNECTIONS", 8)
    gate = rig.gate(PLAIN, to={(HOST, 80): rig.server(tls=False)})
    held = [gate.connect() for _ in range(8)]
    for sock in held:
        sock.sendall(PROXY_GET)
        assert b"hello" in read_response(sock)
    with gate.connect() as waiting:
        waiting.sendall(PROXY_GET)
        assert not select.select([waiting], [], [], 0.3)[0]
        held.pop().close()
        assert b"hello" in read_response(waiting)
    for sock in held:
        sock.close()


# Streams


class Stream:
    """A server that sends an event stream piece by piece, each when told."""

    def __init__(self) -> None:
        self.go = threading.Semaphore(0)

    def __call__(self, connection: Recorded) -> None:
        connection.request()
        connection.sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
        for number in range(3):
            self.go.acquire(timeout=SECONDS)
            event = b"data: %d\n\n" % number
            connection.sock.sendall(b"%x\r\n%s\r\n" % (len(event), event))
        connection.sock.sendall(b"0\r\n\r\n")


def test_events_of_a_stream_arrive_one_by_one(rig: Rig, bottle_trust: ssl.SSLContext) -> None:
    stream = Stream()
    gate = rig.gate(Rule(HOST), to={(HOST, 443): rig.server(stream)})
    with gate.tunnel(bottle_trust) as client:
        client.sendall(GET)
        read_head(client)
        for number in range(3):
            stream.go.release()
            assert client.recv(1000) == b"9\r\ndata: %d\n\n\r\n" % number


SIZE = 200 << 20


def big_answer(connection: Recorded) -> None:
    connection.request()
    connection.sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % SIZE)
    block = bytes(1 << 20)
    for _ in range(SIZE >> 20):
        connection.sock.sendall(block)


def resident() -> int:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096


def test_a_big_body_passes_in_constant_memory(rig: Rig, bottle_trust: ssl.SSLContext) -> None:
    gate = rig.gate(Rule(HOST), to={(HOST, 443): rig.server(big_answer)})
    with gate.tunnel(bottle_trust) as client:
        client.sendall(GET)
        head = read_head(client)
        assert b"content-length: %d" % SIZE in head
        before, total, most = resident(), 0, 0
        while total < SIZE:
            total += len(client.recv(1 << 18))
            most = max(most, resident())
    assert most - before < 32 << 20  # server, gate and client are all in this process


def test_a_client_that_does_not_read_holds_the_server_back(rig: Rig, bottle_trust: ssl.SSLContext) -> None:
    sent = threading.Event()

    def answer(connection: Recorded) -> None:
        big_answer(connection)
        sent.set()

    gate = rig.gate(Rule(HOST), to={(HOST, 443): rig.server(answer)})
    with gate.tunnel(bottle_trust) as client:
        client.sendall(GET)
        read_head(client)
        before = resident()
        assert not sent.wait(1.0)
        assert resident() - before < 32 << 20
        total = 0
        while total < SIZE:
            total += len(client.recv(1 << 18))
        assert sent.wait(SECONDS)


def test_a_big_upload_arrives_whole(rig: Rig, bottle_trust: ssl.SSLContext) -> None:
    counted: list[int] = []

    def count(connection: Recorded) -> None:
        total = 0
        while total < SIZE:
            total += len(connection.sock.recv(1 << 18))
        counted.append(total)
        connection.sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")

    gate = rig.gate(Rule(HOST), to={(HOST, 443): rig.server(count)})
    with gate.tunnel(bottle_trust) as client:
        client.sendall(b"POST /x HTTP/1.1\r\nHost: api.example.com\r\nContent-Length: %d\r\n\r\n" % SIZE)
        block = bytes(1 << 20)
        for _ in range(SIZE >> 20):
            client.sendall(block)
        assert read_response(client).endswith(b"hello")
    assert SIZE <= counted[0] < SIZE + 1000  # the head came before


# Opaque tunnels


def echo(connection: Recorded) -> None:
    """Sends everything back, then says goodbye once the client has."""
    while data := connection.receive():
        connection.sock.sendall(data)
    connection.sock.sendall(b"bye")


def test_half_closes_pass_through_a_tunnel(rig: Rig) -> None:
    gate = rig.gate(OPAQUE, to={(HOST, 2222): rig.server(echo, tls=False)})
    keeper = Keeper(gate)
    with open_tunnel(gate) as client:
        client.sendall(b"x" * 100_000)
        client.shutdown(socket.SHUT_WR)
        assert read_all(client) == 100_003
    keeper.next()
    traffic = keeper.next()["event"]["data"]  # type: ignore[index]
    assert (traffic["up"], traffic["down"], traffic["why"]) == (100_000, 100_003, "")


def test_a_server_that_speaks_first_is_heard(rig: Rig) -> None:
    def banner(connection: Recorded) -> None:
        connection.sock.sendall(b"SSH-2.0-server\r\n")
        connection.receive()

    gate = rig.gate(OPAQUE, to={(HOST, 2222): rig.server(banner, tls=False)})
    with open_tunnel(gate) as client:
        assert client.recv(100) == b"SSH-2.0-server\r\n"


def test_a_tunnel_carries_much_in_both_directions_at_once(rig: Rig) -> None:
    gate = rig.gate(OPAQUE, to={(HOST, 2222): rig.server(echo, tls=False)})
    with open_tunnel(gate) as client:
        block = bytes(range(256)) * 4096

        def send() -> None:
            for _ in range(64):
                client.sendall(block)
            client.shutdown(socket.SHUT_WR)

        thread = threading.Thread(target=send)
        thread.start()
        received = bytearray()
        while data := client.recv(1 << 18):
            received += data
        thread.join()
    assert bytes(received) == block * 64 + b"bye"


def test_a_tunnel_ends_when_its_server_breaks_off(rig: Rig) -> None:
    def reset(connection: Recorded) -> None:
        connection.receive()
        connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")

    gate = rig.gate(OPAQUE, to={(HOST, 2222): rig.server(reset, tls=False)})
    with open_tunnel(gate) as client:
        client.sendall(b"x")
        with _either():
            assert client.recv(10) == b""


class _either:
    """A reset or an end: both are an end."""

    def __enter__(self) -> None: ...

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> bool:
        return kind is ConnectionResetError


def test_tls_passes_an_opaque_tunnel_end_to_end(rig: Rig, upstream_ca: object) -> None:
    server = rig.server()
    gate = rig.gate(Rule(HOST, tls="tunnel"), to={(HOST, 443): server})
    trust = ssl.create_default_context(cadata=upstream_ca.cert_pem.bytes().decode())  # type: ignore[attr-defined]
    with gate.tunnel(trust) as client:  # the true server's certificate, not the bottle's authority
        client.sendall(GET)
        assert read_response(client).endswith(b"hello")


# The control line


@pytest.fixture
def gate(rig: Rig) -> RunningGate:
    return rig.gate(PLAIN, Rule(OTHER), to={(HOST, 80): rig.server(tls=False)})


def ask(gate: RunningGate) -> bytes:
    with gate.connect() as client:
        client.sendall(PROXY_GET)
        return read_response(client)


def test_a_halted_gate_lets_nothing_through_until_it_resumes(gate: RunningGate) -> None:
    keeper = Keeper(gate)
    assert b"hello" in ask(gate)
    keeper.tell("halt")
    while b"hello" in (answer := ask(gate)):
        pass
    assert body(answer)["reason"] == reasons.GATE_HALTED
    keeper.tell("resume")
    while b"hello" not in ask(gate):
        pass


def test_a_gate_whose_keeper_takes_no_events_lets_nothing_through(gate: RunningGate, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "CONTROL_HIGH_WATER", 4096)
    gate.keeper.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    for _ in range(5000):
        if b"gate_halted" in ask(gate):
            break
    else:
        pytest.fail("requests go on unrecorded")
    for _ in range(200):
        assert b"gate_halted" in ask(gate)
    assert gate.server._line._size < 4 * 4096  # what is refused meanwhile costs no memory
    keeper = Keeper(gate)
    while (event := keeper.next()["event"])["kind"] != "note":  # type: ignore[index]
        pass
    assert int(event["data"]["count"]) > 100  # type: ignore[index]
    assert b"hello" in ask(gate)


def test_a_gate_is_gone_when_its_keeper_is(gate: RunningGate) -> None:
    gate.keeper.shutdown(socket.SHUT_RDWR)
    assert gate.gone.wait(SECONDS)


@pytest.mark.parametrize("line", [b"not json\n", b"[]\n", b'{"op":1}\n', b"x" * (control.MAX_LINE + 1)])
def test_a_broken_control_line_ends_the_gate(gate: RunningGate, line: bytes) -> None:
    threading.Thread(target=lambda: _send(gate.keeper, line), daemon=True).start()
    assert gate.gone.wait(SECONDS)


def _send(sock: socket.socket, data: bytes) -> None:
    try:
        sock.sendall(data)
    except OSError:
        pass


def test_stop_ends_the_gate(gate: RunningGate) -> None:
    Keeper(gate).tell("stop")
    assert gate.gone.wait(SECONDS)


def test_refreshed_credentials_are_used(rig: Rig, bottle_trust: ssl.SSLContext) -> None:
    server = rig.server()
    gate = rig.gate(Rule(HOST, credential="api", paths=("/x",)), to={(HOST, 443): server}, credentials=(bound((HOST, 443)),))
    keeper = Keeper(gate)
    keeper.tell("credentials", values={"api": "sk-new"})
    keeper.tell("nonsense")
    assert keeper.next()["op"] == "fault"  # so the message before it has been obeyed
    with gate.tunnel(bottle_trust) as client:
        client.sendall(GET[:-2] + f"x-api-key: {PLACEHOLDER}\r\n\r\n".encode())
        read_response(client)
    assert b"x-api-key: sk-new\r\n" in server.received


def test_a_flood_of_denied_names_is_recorded_in_part_and_counted(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    from tests.gate.test_dns import query

    monkeypatch.setattr(limits, "DNS_DENIALS", 5)
    monkeypatch.setattr(limits, "REFUSALS_TOLD", 1e5)
    gate = rig.gate(PLAIN, names=("proxy", "dns-udp"))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(SECONDS)
        for number in range(50):
            client.sendto(query(f"n{number % 25}.evil.test"), ("127.0.0.1", gate.ports["dns-udp"]))
            client.recv(4096)
    keeper = Keeper(gate)
    names = [keeper.next()["event"]["data"]["name"] for _ in range(5)]  # type: ignore[index]
    assert names == [f"n{number}.evil.test" for number in range(5)]
    keeper.tell("nonsense")
    assert keeper.next()["op"] == "fault"  # and no further denial before it
    keeper.tell("stop")
    told = keeper.next()["event"]["data"]  # type: ignore[index]
    assert (told["count"], told["reasons"]) == (40, {"name": 40})


def test_case_120_of_a_flood_of_refusals_some_are_recorded_and_all_are_counted(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is granted meanwhile is recorded as ever."""
    monkeypatch.setattr(limits, "REFUSALS", 5)
    monkeypatch.setattr(limits, "REFUSALS_EVERY", 1e9)
    monkeypatch.setattr(limits, "REFUSALS_TOLD", 1e5)
    gate = rig.gate(PLAIN, to={(HOST, 80): rig.server(tls=False)})
    with gate.connect() as client:
        for number in range(20):
            host = HOST if number == 15 else "evil.test"
            client.sendall(f"GET http://{host}/{number} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
            answered = read_response(client)
            assert answered.startswith(b"HTTP/1.1 200" if number == 15 else b"HTTP/1.1 403")
    keeper = Keeper(gate)
    keeper.tell("stop")
    events = [keeper.expect("event")["event"] for _ in range(8)]
    told = [one["data"] for one in events if one["kind"] == "decision"]  # type: ignore[index]
    assert [one["path"] for one in told] == [*(f"/{number}" for number in range(5)), "/15"]
    (note,) = [one["data"] for one in events if one["kind"] == "note"]  # type: ignore[index]
    assert (note["count"], note["reasons"]) == (14, {"host_not_granted": 14})


def test_what_is_only_counted_is_told_a_little_later(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "REFUSALS", 0)
    monkeypatch.setattr(limits, "REFUSALS_EVERY", 1e9)
    monkeypatch.setattr(limits, "REFUSALS_TOLD", 0.01)
    gate = rig.gate(PLAIN)
    with gate.connect() as client:
        client.sendall(b"GET http://evil.test/ HTTP/1.1\r\nHost: evil.test\r\n\r\n")
        assert read_response(client).startswith(b"HTTP/1.1 403")
    note = Keeper(gate).expect("event")["event"]
    assert (note["kind"], note["data"]["count"]) == ("note", 1)  # type: ignore[index]


def test_dns_over_tcp_is_answered(rig: Rig) -> None:
    from tests.gate.test_dns import query

    gate = rig.gate(PLAIN, names=("proxy", "dns-tcp"))
    with gate.connect("dns-tcp") as client:
        one = query(HOST)
        client.sendall(len(one).to_bytes(2, "big") + one)
        assert socket.inet_aton("198.18.0.2") in client.recv(4096)


def test_a_bug_in_one_conversation_ends_only_that_one(gate: RunningGate, monkeypatch: pytest.MonkeyPatch) -> None:
    from claude_bottle.gate.pages import Pages

    def broken(*_: object, **__: object) -> bytes:
        raise RuntimeError(SECRET)

    monkeypatch.setattr(Pages, "take", broken)
    with gate.connect() as client:
        client.sendall(b"GET http://bottle.internal/policy HTTP/1.1\r\nHost: bottle.internal\r\n\r\n")
        assert client.recv(100) == b""
    fault = Keeper(gate).next()
    assert fault["op"] == "fault"
    assert "RuntimeError" in str(fault["what"])
    assert SECRET not in str(fault)
    assert b"hello" in ask(gate)
