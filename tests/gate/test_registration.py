"""Listeners are taken once, from whoever knows the nonce, and are what the kernel says they are."""

from __future__ import annotations

import contextlib
import json
import os
import socket
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from claude_bottle.errors import BottleError
from claude_bottle.gate.registration import port_of, receive

NONCE = "ab" * 16


def listening() -> socket.socket:
    return socket.create_server(("127.0.0.1", 0))


def datagram() -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind(("127.0.0.1", 0))
    return sock


def message(names: list[str], nonce: str = NONCE) -> bytes:
    return json.dumps({"nonce": nonce, "listeners": names}).encode() + b"\n"


def opened() -> set[str]:
    """The descriptors of this process. What an earlier test has left to its threads or the collector may go at any time."""
    return set(os.listdir("/proc/self/fd"))


def refused(text: bytes, sockets: list[socket.socket], nonce: str = NONCE, *, in_bottle: bool = False) -> str:
    """Send this, see that it is refused without an answer, and return why."""
    ours, theirs = socket.socketpair()
    if text:
        socket.send_fds(ours, [text], [sock.fileno() for sock in sockets])
    for sock in sockets:
        sock.close()
    ours.shutdown(socket.SHUT_WR)
    with pytest.raises(BottleError) as problem:
        receive(theirs, nonce, in_bottle=in_bottle)
    with ours, contextlib.suppress(ConnectionResetError):
        assert ours.recv(10) == b""
    return problem.value.why


def test_listeners_arrive_by_name_and_the_channel_is_closed() -> None:
    ours, theirs = socket.socketpair()
    sockets = [datagram(), listening()]
    socket.send_fds(ours, [message(["dns-udp", "http"])], [sock.fileno() for sock in sockets])
    found = receive(theirs, NONCE, in_bottle=False)
    assert list(found) == ["dns-udp", "http"]
    assert not any(sock.getblocking() for sock in found.values())
    assert ours.recv(2) == b"k"
    assert ours.recv(2) == b""
    for sock in (*sockets, *found.values(), ours):
        sock.close()


@pytest.mark.parametrize(
    ("text", "makers"),
    [
        (message(["http"], "0" * 32), [listening]),
        (message(["http"], ""), [listening]),
        (message(["http", "https"]), [listening]),
        (message(["http"]), [listening, listening]),
        (message(["http", "http"]), [listening, listening]),
        (message(["other"]), [listening]),
        (message(["port-0"]), [listening]),
        (message(["port-080"]), [listening]),
        (message(["http"]), [datagram]),
        (message(["dns-udp"]), [listening]),
        (b"not json\n", [listening]),
        (b"[]\n", []),
        (b"{}\n", [listening]),
        (message(["http"])[:-1], [listening]),
        (b"", []),
        (b"x" * 20000 + b"\n", []),
        (message(["http"]), [lambda: socket.socket(socket.AF_INET)]),
        (message(["http"]), [lambda: socket.socket(socket.AF_UNIX)]),
        (message(["http"]), [lambda: socket.create_server(("::", 0), family=socket.AF_INET6)]),
    ],
)
def test_anything_else_is_refused_and_every_descriptor_closed(text: bytes, makers: list[Callable[[], socket.socket]]) -> None:
    before = opened()
    refused(text, [make() for make in makers])
    assert not opened() - before


_ODD_NAMES = ["http", "https", "dns-udp", "port-1", "port-" + "9" * 5000, "\ud800", "port-01"]
_NAMES = st.sampled_from(_ODD_NAMES) | st.text(max_size=9)
_MESSAGES = st.one_of(
    st.binary(max_size=300),
    st.builds(
        lambda nonce, names: json.dumps({"nonce": nonce, "listeners": names}).encode(),
        st.just(NONCE) | st.just("\ud800") | st.text(max_size=5) | st.integers(),
        st.lists(_NAMES | st.integers(), min_size=1, max_size=5) | _NAMES,
    ),
    st.just(b"[" * 15_000),
)


@given(_MESSAGES, st.lists(st.sampled_from([listening, datagram, lambda: socket.socket(socket.AF_UNIX)]), max_size=3))
@settings(max_examples=150, deadline=None)
def test_any_message_is_refused_or_taken_whole(
    text: bytes, makers: list[Callable[[], socket.socket]]
) -> None:  # fuzz target: registration
    before = opened()
    ours, theirs = socket.socketpair()
    sockets = [make() for make in makers]
    socket.send_fds(ours, [text + b"\n"], [sock.fileno() for sock in sockets])
    ours.shutdown(socket.SHUT_WR)
    found: dict[str, socket.socket] = {}
    with contextlib.suppress(BottleError):
        found = receive(theirs, NONCE, in_bottle=False)
        assert len(found) == len(sockets)
    for sock in (*sockets, *found.values(), ours):
        sock.close()
    assert not opened() - before


def test_a_listener_on_another_port_than_its_name_says_is_refused() -> None:
    assert "bound to port" in refused(message(["http"]), [listening()], in_bottle=True)


def test_a_listener_in_the_hosts_own_network_is_refused() -> None:  # I19
    sock = listening()
    assert "the host's network" in refused(message([f"port-{sock.getsockname()[1]}"]), [sock], in_bottle=True)


def test_an_empty_nonce_never_matches() -> None:
    refused(message([], ""), [], "")


@pytest.mark.parametrize(
    ("name", "port"),
    [
        ("http", 80),
        ("proxy", 3128),
        ("port-8443", 8443),
        ("port-65536", None),
        ("port--1", None),
        ("port-", None),
        ("port-٣", None),
    ],
)
def test_names_mean_ports(name: str, port: int | None) -> None:
    assert port_of(name) == port
