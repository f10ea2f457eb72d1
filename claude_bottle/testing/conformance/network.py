"""Network: loopback and nothing else; its listeners are outside before the first program runs."""

from __future__ import annotations

import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager

from claude_bottle.backend.base import Bottle
from claude_bottle.testing.conformance.place import NONCE, SECONDS, AnyGate, Listener, Place, run, shell, start
from claude_bottle.testing.conformance.registry import group

network = group("network")
_FIXED = {"dns-udp": 53, "dns-tcp": 53, "http": 80, "https": 443, "proxy": 3128}
_TALK = (
    "import socket,sys; s=socket.create_connection((sys.argv[1], int(sys.argv[2])), 60); s.sendall(b'hello');"
    "print(s.recv(100).decode())"
)


@contextmanager
def gated(place: Place, *ports: int) -> Iterator[tuple[Bottle, AnyGate]]:
    gate = place.gate()
    try:
        with place.up(place.boot(gate, ports=ports)) as bottle:
            yield bottle, gate
    finally:
        gate.close()


def answer(listener: Listener) -> None:
    listener.settimeout(SECONDS)
    connection, _ = listener.accept()
    with connection:
        connection.settimeout(SECONDS)
        connection.sendall(b"got " + connection.recv(100))


def talk(bottle: Bottle, address: str, port: int, listener: Listener) -> str:
    """What a program inside hears when it says hello to a port whose listener is ours."""
    import threading

    thread = threading.Thread(target=answer, args=(listener,), daemon=True)
    thread.start()
    said = run(bottle, ["python3", "-I", "-c", _TALK, address, str(port)])
    thread.join(SECONDS)
    return said.out.strip() or said.err


@network
def the_listeners_are_handed_over_with_the_nonce(place: Place) -> None:
    with gated(place, 8443, 5432) as (_, gate):
        assert gate.nonce == NONCE
        found = {name: listener.getsockname()[1] for name, listener in gate.listeners.items()}
        assert found == {**_FIXED, "port-5432": 5432, "port-8443": 8443}


@network
def a_connection_inside_arrives_outside(place: Place) -> None:
    with gated(place, 8443) as (bottle, gate):
        assert talk(bottle, "127.0.0.1", 443, gate.listeners["https"]) == "got hello"
        assert talk(bottle, "198.18.7.9", 80, gate.listeners["http"]) == "got hello"
        assert talk(bottle, "198.18.0.2", 8443, gate.listeners["port-8443"]) == "got hello"


@network
def names_are_asked_of_us(place: Place) -> None:
    with gated(place) as (bottle, gate):
        asking = start(bottle, ["getent", "hosts", "some.name.test"])
        gate.listeners["dns-udp"].settimeout(SECONDS)
        asked = gate.listeners["dns-udp"].recv(512)
        asking.kill(signal.SIGKILL)  # it would wait for an answer
        assert b"\x04some\x04name\x04test\x00" in asked


@network
def without_a_gate_nothing_listens(place: Place) -> None:
    with place.up() as bottle:
        for port in _FIXED.values():
            said = run(bottle, ["python3", "-I", "-c", _TALK, "127.0.0.1", str(port)])
            assert said.code != 0
            assert "refused" in said.err


@network
def a_gate_that_is_gone_refuses(place: Place) -> None:
    with gated(place) as (bottle, gate):
        gate.close()
        said = run(bottle, ["python3", "-I", "-c", _TALK, "127.0.0.1", "443"])
        assert "refused" in said.err
        assert bottle.alive()


@network
def there_is_no_way_out(place: Place) -> None:
    with gated(place) as (bottle, _):
        for address in ("1.1.1.1", "10.0.0.1", "172.17.0.1", "192.168.1.1", "169.254.169.254", "::1", "2606:4700::1111"):
            said = run(bottle, ["python3", "-I", "-c", _TALK, address, "9"])
            assert said.code != 0, address


@network
def the_only_device_is_loopback(place: Place) -> None:
    with gated(place) as (bottle, _):
        assert shell(bottle, "sed 1,2d /proc/net/dev | cut -d: -f1").out.split() == ["lo"]


@network
def the_hosts_own_listeners_are_out_of_reach(place: Place) -> None:
    with gated(place) as (bottle, _):
        for address in ("127.0.0.1", "0.0.0.0"):
            with socket.create_server((address, 0)) as server:
                said = run(bottle, ["python3", "-I", "-c", _TALK, "127.0.0.1", str(server.getsockname()[1])])
                assert said.code != 0


@network
def a_port_can_be_opened_later(place: Place) -> None:
    with gated(place) as (bottle, _):
        listener = bottle.open_port(9418)
        with listener:
            assert listener.getsockname()[1] == 9418
            assert talk(bottle, "198.18.0.5", 9418, listener) == "got hello"


@network
def a_port_that_is_taken_is_an_error(place: Place) -> None:
    from claude_bottle.errors import BottleError

    with gated(place) as (bottle, _):
        try:
            bottle.open_port(443)
        except BottleError as problem:
            assert problem.what
        else:
            raise AssertionError("a port was opened twice")


@network
def two_bottles_hear_nothing_of_each_other(place: Place) -> None:
    from dataclasses import replace

    other = place.gate("conform-second")
    home, work = place.directory / "home2", place.directory / "work2"
    home.mkdir(mode=0o700)
    work.mkdir(mode=0o700)
    try:
        with gated(place) as (first, gate):
            boot = replace(place.boot(other), identity="conform-second", home=home, workspace=work)
            with place.up(boot) as second:
                assert talk(first, "127.0.0.1", 443, gate.listeners["https"]) == "got hello"
                assert talk(second, "127.0.0.1", 443, other.listeners["https"]) == "got hello"
                assert talk(first, "127.0.0.1", 80, gate.listeners["http"]) == "got hello"
                assert talk(second, "127.0.0.1", 80, other.listeners["http"]) == "got hello"
    finally:
        other.close()
