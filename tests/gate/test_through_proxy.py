"""Dials through the operator's own proxy: everything but what `upstreams` leads elsewhere, by the judged name."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable

import pytest

from claude_bottle.gate.config import GateConfig, UpstreamProxy
from claude_bottle.gate.dial import Address
from claude_bottle.model import policy as reasons
from claude_bottle.model.policy import Rule
from tests.gate.conftest import HOST, OTHER, Recorded, RecordingServer, Rig, read_response
from tests.gate.keeper import Keeper
from tests.gate.test_http import body

PLAIN = Rule(HOST, port=80)
GET = b"GET http://api.example.com/x HTTP/1.1\r\nHost: api.example.com\r\n\r\n"
SIGNS_IN = "Basic bWU6c2VjcmV0"


def unknown(_host: str, _port: int) -> list[Address]:
    """The resolver of a network that knows its own names only; the proxy is at an address."""
    if _host == "127.0.0.1":
        return [(int(socket.AF_INET), (_host, _port))]
    raise OSError("no such name")


def proxy_to(server: RecordingServer, answer: bytes = b"HTTP/1.1 200 OK\r\nVia: x\r\n\r\n") -> Callable[[Recorded], None]:
    """An ordinary proxy, that leads every name to `server`."""

    def respond(client: Recorded) -> None:
        client.request()
        with socket.create_connection(("127.0.0.1", server.port)) as onward:
            client.sock.sendall(answer)
            if b" 200 " not in answer:
                return
            back = threading.Thread(target=_pass, args=(onward, client.sock), daemon=True)
            back.start()
            _pass(client.sock, onward)
            back.join()

    return respond


def _pass(source: socket.socket, target: socket.socket) -> None:
    try:
        while data := source.recv(65536):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
    except OSError:
        pass


def at(proxy: RecordingServer, authorization: str = "") -> UpstreamProxy:
    return UpstreamProxy("127.0.0.1", proxy.port, authorization)


def test_a_request_goes_by_the_judged_name(rig: Rig) -> None:
    server = rig.server(tls=False)
    proxy = rig.server(proxy_to(server), tls=False)
    gate = rig.gate(PLAIN, resolver=unknown, proxy=at(proxy, SIGNS_IN))
    with gate.connect() as client:
        client.sendall(GET)
        assert read_response(client).endswith(b"hello")
    assert bytes(proxy.received).startswith(
        b"CONNECT api.example.com:80 HTTP/1.1\r\nHost: api.example.com:80\r\nProxy-Authorization: Basic bWU6c2VjcmV0\r\n\r\n"
    )
    assert SIGNS_IN.encode() not in server.received


def test_the_server_still_proves_its_name_to_us(rig: Rig, bottle_trust: ssl.SSLContext) -> None:  # threats 52
    server = rig.server()
    proxy = rig.server(proxy_to(server), tls=False)
    gate = rig.gate(Rule(HOST), Rule("elsewhere.example.org"), resolver=unknown, proxy=at(proxy))
    for host, expected in ((HOST, b"hello"), ("elsewhere.example.org", b"upstream_tls")):
        with gate.tunnel(bottle_trust, host) as client:
            client.sendall(f"GET /x HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
            assert expected in read_response(client)


def test_what_the_server_says_at_once_is_not_lost(rig: Rig) -> None:
    """A protocol whose server speaks first, through a tunnel: its words come with the proxy's answer."""

    def greets(client: Recorded) -> None:
        client.sock.sendall(b"220 hello, who are you")
        client.receive()

    server = rig.server(greets, tls=False)

    def respond(client: Recorded) -> None:
        client.request()
        with socket.create_connection(("127.0.0.1", server.port)) as onward:
            greeting = onward.recv(100)
            client.sock.sendall(b"HTTP/1.0 200 Connection established\r\n\r\n" + greeting)
            client.receive()

    gate = rig.gate(Rule(HOST, 25, tls="tunnel"), resolver=unknown, proxy=at(rig.server(respond, tls=False)))
    with gate.connect() as client:
        client.sendall(b"CONNECT api.example.com:25 HTTP/1.1\r\nHost: api.example.com:25\r\n\r\n")
        seen = b""
        while b"who are you" not in seen:
            data = client.recv(4096)
            assert data, seen
            seen += data
        assert seen.startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n", "it answered 407"),
        (b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n", "it answered 403"),
        (b"SSH-2.0-x\r\n\r\n", "it does not speak HTTP"),
        (b"HTTP/1.1 2000 OK\r\n\r\n", "it does not speak HTTP"),
        (b"HTTP/1.1 200 OK\r\n", "it closed the connection"),
        (b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * 4000, "its answer has no end"),
    ],
    ids=["sign in", "no", "no proxy", "no status", "half", "endless"],
)
def test_a_proxy_that_does_not_lead_there_is_named(rig: Rig, answer: bytes, why: str) -> None:
    def respond(client: Recorded) -> None:
        client.request()
        client.sock.sendall(answer)

    gate = rig.gate(PLAIN, resolver=unknown, proxy=at(rig.server(respond, tls=False)))
    with gate.connect() as client:
        client.sendall(GET)
        assert body(read_response(client))["reason"] == reasons.UPSTREAM_FAILED
    keeper = Keeper(gate)
    while (event := keeper.expect("event")["event"])["kind"] != "traffic":  # type: ignore[index]
        pass
    assert f"the operator's proxy: {why}" in str(event)


def test_a_name_that_is_private_here_is_not_asked_for(rig: Rig) -> None:  # threats 31
    proxy = rig.server(tls=False)

    def inside(host: str, port: int) -> list[Address]:
        return [(int(socket.AF_INET), ("127.0.0.1" if host == "127.0.0.1" else "10.0.0.7", port))]

    gate = rig.gate(PLAIN, resolver=inside, proxy=at(proxy))
    with gate.connect() as client:
        client.sendall(GET)
        assert body(read_response(client))["reason"] == reasons.ADDRESS_REFUSED
    assert proxy.connections == 0


def test_what_upstreams_leads_elsewhere_does_not_go_through_it(rig: Rig) -> None:
    server, proxy = rig.server(tls=False), rig.server(tls=False)
    gate = rig.gate(Rule(OTHER, port=80), to={(OTHER, 80): server}, proxy=at(proxy))
    with gate.connect() as client:
        client.sendall(GET.replace(HOST.encode(), OTHER.encode()))
        assert read_response(client).endswith(b"hello")
    assert proxy.connections == 0


def test_a_gate_that_runs_elsewhere_is_told() -> None:
    config = GateConfig("x-aaaaaa", (PLAIN,), upstream_proxy=UpstreamProxy("10.1.2.3", 3128, SIGNS_IN))
    assert GateConfig.from_wire(config.to_wire()).upstream_proxy == config.upstream_proxy
    assert GateConfig.from_wire(GateConfig("x-aaaaaa", ()).to_wire()).upstream_proxy is None
