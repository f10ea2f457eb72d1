"""Which addresses are dialled: the ones that were checked, and no others (threats 31)."""

from __future__ import annotations

import json
import socket
import ssl
import subprocess
import sys
import threading

import pytest

from claude_bottle.gate.core import Origin
from claude_bottle.gate.dial import Address, Dialler, permitted, resolve
from claude_bottle.gate.loop import Loop
from claude_bottle.model import policy as reasons
from claude_bottle.model.policy import Rule
from tests.gate.conftest import HOST, Rig, read_response
from tests.gate.test_http import body
from tests.waiting import SECONDS

PLAIN = Rule(HOST, port=80)
GET = b"GET http://api.example.com/ HTTP/1.1\r\nHost: api.example.com\r\n\r\n"


def v4(address: str, port: int = 80) -> Address:
    return int(socket.AF_INET), (address, port)


def v6(address: str) -> Address:
    return int(socket.AF_INET6), (address, 80, 0, 0)


PRIVATE = [
    v4("127.0.0.1"),
    v4("10.0.0.1"),
    v4("169.254.169.254"),
    v4("192.168.1.1"),
    v4("172.16.0.1"),
    v4("100.64.0.1"),
    v4("0.0.0.0"),
    v4("198.18.0.2"),
    v4("255.255.255.255"),
    v4("224.0.0.1"),
    v6("::1"),
    v6("fe80::1"),
    v6("fc00::1"),
    v6("::ffff:127.0.0.1"),
    v6("64:ff9b::a9fe:a9fe"),
    v6("2002:7f00:1::1"),
    v6("::127.0.0.1"),
    v6("fec0::1"),
    v6("::"),
]


@pytest.mark.parametrize("found", PRIVATE, ids=lambda found: found[1][0])
def test_a_granted_name_that_leads_to_a_private_address_is_refused(rig: Rig, found: Address) -> None:  # threats 26, 31, 33
    gate = rig.gate(PLAIN, resolver=lambda host, port: [found])
    with gate.connect() as client:
        client.sendall(GET)
        assert body(read_response(client))["reason"] == reasons.ADDRESS_REFUSED


def test_a_private_address_is_never_dialled_although_something_listens_there(rig: Rig) -> None:  # threats 31
    server = rig.server(tls=False)
    gate = rig.gate(PLAIN, resolver=lambda host, port: [v4("127.0.0.1", server.port)])
    with gate.connect() as client:
        client.sendall(GET)
        assert b" 403 " in read_response(client)
    assert server.connections == 0


def test_of_mixed_answers_only_the_public_ones_are_kept() -> None:  # threats 31
    public = v4("93.184.216.34")
    assert permitted([v4("127.0.0.1"), public, v6("::1")])[0] == [public]


def test_a_name_is_resolved_once_per_dial_so_no_second_answer_can_differ(rig: Rig) -> None:  # threats 31
    answers = [[v4("93.184.216.34")], [v4("127.0.0.1")]]
    asked: list[str] = []

    def rebinding(host: str, port: int) -> list[Address]:
        asked.append(host)
        return answers[min(len(asked), 2) - 1]

    allowed, _ = permitted(rebinding(HOST, 80))
    assert (allowed, asked) == ([v4("93.184.216.34")], [HOST])


def test_the_operators_upstream_may_be_private_and_is_not_resolved_by_its_public_name(rig: Rig) -> None:
    asked: list[str] = []

    def recording(host: str, port: int) -> list[Address]:
        asked.append(host)
        return resolve(host, port)

    server = rig.server(tls=False)
    gate = rig.gate(PLAIN, to={(HOST, 80): server}, resolver=recording)
    with gate.connect() as client:
        client.sendall(GET)
        assert read_response(client).endswith(b"hello")
    assert asked == ["127.0.0.1"]


def test_an_upstream_of_one_port_opens_no_other(rig: Rig) -> None:
    server = rig.server(tls=False)
    gate = rig.gate(
        PLAIN, Rule(HOST, port=8080), to={(HOST, 80): server}, resolver=lambda host, port: [v4("127.0.0.1", server.port)]
    )
    with gate.connect() as client:
        client.sendall(b"GET http://api.example.com:8080/ HTTP/1.1\r\nHost: api.example.com:8080\r\n\r\n")
        assert body(read_response(client))["reason"] == reasons.ADDRESS_REFUSED
    assert server.connections == 0


def test_the_next_address_is_tried_when_one_does_not_answer(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    server = rig.server(tls=False)
    gate = rig.gate(
        PLAIN,
        to={(HOST, 80): server},
        resolver=lambda host, port: [v4("127.0.0.1", 1), v4("127.0.0.1", port)],
    )
    with gate.connect() as client:
        client.sendall(GET)
        assert read_response(client).endswith(b"hello")


@pytest.mark.parametrize(("found", "reason"), [([], reasons.RESOLVE_FAILED), ([v4("127.0.0.1", 1)], reasons.UPSTREAM_FAILED)])
def test_a_dial_that_fails_says_why(rig: Rig, found: list[Address], reason: str) -> None:
    gate = rig.gate(PLAIN, to={(HOST, 80): rig.server(tls=False)}, resolver=lambda host, port: found)
    with gate.connect() as client:
        client.sendall(GET)
        answer = read_response(client)
        assert answer.startswith(b"HTTP/1.1 502")
        assert body(answer)["reason"] == reason


def test_a_name_that_does_not_resolve_is_not_asked_for_elsewhere(rig: Rig) -> None:
    def failing(host: str, port: int) -> list[Address]:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    gate = rig.gate(PLAIN, resolver=failing)
    with gate.connect() as client:
        client.sendall(GET)
        assert body(read_response(client))["reason"] == reasons.RESOLVE_FAILED


def test_an_idle_link_serves_the_next_connection(rig: Rig, bottle_trust: ssl.SSLContext) -> None:
    server = rig.server()
    gate = rig.gate(Rule(HOST), to={(HOST, 443): server})
    for _ in range(3):
        with gate.tunnel(bottle_trust) as client:
            client.sendall(b"GET / HTTP/1.1\r\nHost: api.example.com\r\n\r\n")
            assert read_response(client).endswith(b"hello")
    assert server.connections == 1


def test_the_hosts_search_domains_are_not_tried() -> None:
    """A recording name server in a network of its own, under a resolv.conf that has a search domain."""
    done = subprocess.run(
        ["unshare", "--map-root-user", "--net", "--mount", sys.executable, "-c", _SEARCHED], capture_output=True, text=True,
        timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    asked = set(json.loads(done.stdout))
    assert asked <= {"api.example.com"}


_SEARCHED = """
import ctypes, fcntl, json, socket, struct, tempfile, threading
from claude_bottle.gate.dial import only_whole_names, resolve

server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
fcntl.ioctl(server, 0x8914, struct.pack("16sH14x", b"lo", 0x41))
server.bind(("127.0.0.1", 53))
asked = []

def answer():
    while True:
        query, peer = server.recvfrom(512)
        labels, at = [], 12
        while query[at]:
            labels.append(query[at + 1 : at + 1 + query[at]].decode())
            at += 1 + query[at]
        asked.append(".".join(labels))
        server.sendto(query[:2] + b"\\x81\\x83" + query[4:6] + bytes(6) + query[12 : at + 5], peer)

threading.Thread(target=answer, daemon=True).start()
with tempfile.NamedTemporaryFile("w") as file:
    file.write("search attacker.test\\nnameserver 127.0.0.1\\n")
    file.flush()
    ctypes.CDLL(None).mount(file.name.encode(), b"/etc/resolv.conf", None, 4096, None)
only_whole_names()
try:
    resolve("api.example.com", 443)
except OSError:
    pass
print(json.dumps(asked))
"""


def test_a_name_nobody_waits_for_any_more_is_not_looked_up() -> None:
    loop, let_go = Loop(), threading.Event()
    asked: list[str] = []

    def slow(host: str, port: int) -> list[Address]:
        asked.append(host)
        let_go.wait(SECONDS)
        raise OSError("no")

    dialler = Dialler(loop, {}, slow)
    names = [f"h{number}.example.com" for number in range(100)]
    dials = [dialler.dial(Origin(name, 443, True), lambda sock: None, lambda *why: None) for name in names]
    for dial in dials[4:-1]:  # the first ones keep every thread busy
        dial.cancel()
    let_go.set()
    while not dials[-1].over:
        loop.once(1)
    assert sorted(asked) == sorted([*names[:4], names[-1]])
