"""Attack cases on the network of a bottle without its gate (threats.md §2, 25–28, 37), run inside real bottles.

The gate's own cases live beside it. Here a recorder stands in for it: it takes the listeners, and whatever arrives
anywhere else on the host would have to have left the bottle.
"""

from __future__ import annotations

import json
import socket

from tests import in_bottle
from tests.ordinary_user import Person

PRELUDE = """
import errno, json, os, socket
def attempt(work):
    try:
        work()
        return "ok"
    except OSError as e:
        return errno.errorcode.get(e.errno, str(e))
def dial(family, address, kind=socket.SOCK_STREAM):
    def work():
        with socket.socket(family, kind) as s:
            s.settimeout(3)
            s.connect(address)
            if kind == socket.SOCK_DGRAM:
                s.send(b"canary")
    return attempt(work)
"""
OUTSIDE = [
    "1.1.1.1",
    "10.0.0.1",
    "169.254.169.254",
    "172.17.0.1",
    "192.168.1.1",
    "100.64.0.1",
    "224.0.0.1",
    "8.8.8.8",
]
OUTSIDE_6 = [
    "2606:4700::1111", "::ffff:1.1.1.1", "64:ff9b::101:101", "64:ff9b::a9fe:a9fe", "2002:101:101::1", "fe80::1", "fc00::1",
    "::ffff:10.0.0.1",
]  # fmt: skip


def test_without_a_gate_there_is_no_listener_and_no_network(person: Person) -> None:
    ports = [53, 80, 443, 3128]
    source = PRELUDE + f"print(json.dumps({{p: dial(socket.AF_INET, ('127.0.0.1', p)) for p in {ports!r}}}))"
    assert set(in_bottle.probe(person, source, gate=False).values()) == {"ECONNREFUSED"}


def test_a_connection_to_any_synthetic_address_reaches_the_gates_listener(person: Person) -> None:
    places = [
        ["198.18.0.1", 443],
        ["198.18.0.2", 80],
        ["198.19.255.254", 443],
        ["127.0.0.1", 3128],
        ["198.18.7.7", 5432],
    ]
    source = PRELUDE + f"print(json.dumps([dial(socket.AF_INET, (a, p)) for a, p in {places!r}]))"
    assert in_bottle.probe(person, source, ports=[5432]) == ["ok"] * len(places)


def test_resolvers_see_an_address_that_is_not_loopback(person: Person) -> None:
    """glibc's AI_ADDRCONFIG ignores IPv4 when 127.0.0.1 is its only address."""
    source = "import json, socket; print(json.dumps(socket.getaddrinfo('198.18.0.1', 80, 2, 1, 0, socket.AI_ADDRCONFIG)))"
    assert in_bottle.probe(person, source)[0][4] == ["198.18.0.1", 80]


def test_the_registration_names_the_listeners_in_order_with_the_nonce(person: Person) -> None:
    source = """
import json, sys
from tests import in_bottle
place, = sys.argv[1:]
gate = in_bottle.Gate()
request = {"home": place, "workspace": place, "ports": [5432, 443, 22]}
with in_bottle.launch_request(request, gate):
    names = {name: (one.getsockname(), one.type) for name, one in gate.sockets.items()}
print(json.dumps([gate.message, names]))
"""
    done = person.run([person.python, "-c", source, str(person.directory("place"))])
    assert done.returncode == 0, done.stderr
    message, sockets = json.loads(done.stdout)
    names = ["dns-udp", "dns-tcp", "http", "https", "proxy", "port-22", "port-5432"]
    assert message == {"nonce": "00ff", "listeners": names}
    assert sockets == {
        "dns-udp": [["127.0.0.1", 53], socket.SOCK_DGRAM], "dns-tcp": [["127.0.0.1", 53], socket.SOCK_STREAM],
        "http": [["0.0.0.0", 80], socket.SOCK_STREAM], "https": [["0.0.0.0", 443], socket.SOCK_STREAM],
        "proxy": [["127.0.0.1", 3128], socket.SOCK_STREAM],
        "port-22": [["0.0.0.0", 22], socket.SOCK_STREAM], "port-5432": [["0.0.0.0", 5432], socket.SOCK_STREAM],
    }  # fmt: skip
