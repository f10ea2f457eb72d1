"""Attack cases on the network (threats.md §2, 25–28, 37, 39): the gate's listeners are all there is.

The host around the bottle has the addresses that are dialled, with servers on them and a recorder that sees every frame:
what is refused here is not refused because nobody would have answered.
"""

from __future__ import annotations

import socket

import pytest

from tests.attack.namespaces import TCP_PORTS
from tests.attack.operators import Bottle, Operator
from tests.attack.probes import KERNEL, NETWORK, SHOW, judged
from tests.attack.world import API, DATABASE

OUTSIDE = ["1.1.1.1", "8.8.8.8", "10.1.2.3", "169.254.169.254", "172.17.0.1", "192.168.1.1", "100.64.0.1",
    "93.184.216.10", "224.0.0.1",
           "255.255.255.255", "93.184.216.255"]  # fmt: skip
OUTSIDE_6 = ["2606:4700::1111", "::ffff:1.1.1.1", "::ffff:10.1.2.3", "64:ff9b::1", "64:ff9b::a9fe:a9fe",
    "2002:101:101::1", "fe80::1",
             "fc00::1", "ff02::1", "::1.1.1.1"]  # fmt: skip


def nothing_moved(bottle: Bottle, addresses: list[str]) -> None:
    """No frame on the host's own network to or from one of these, none with the canary, and nobody was called."""
    marks = [socket.inet_pton(socket.AF_INET6 if ":" in one else socket.AF_INET, one) for one in addresses]
    frames = bottle.world.packets()
    assert [frame for frame in frames if b"canary" in frame or any(mark in frame[14:54] for mark in marks)] == []
    assert bottle.world.servers.arrived() == []


@pytest.mark.threat(25)
def test_case_25_an_ipv4_address_has_no_route(bottle: Bottle) -> None:
    source = f"{KERNEL}print(json.dumps([dial(socket.AF_INET, (a, p)) for a in {OUTSIDE!r} for p in (443, 80, 2375)]))"
    assert set(bottle.python(source)) <= {"ENETUNREACH", "EACCES"}
    nothing_moved(bottle, OUTSIDE)


@pytest.mark.threat(25)
def test_case_25_no_route_address_or_device_can_be_added(bottle: Bottle) -> None:
    source = KERNEL + r"""
import fcntl, struct
def netlink(kind, body, flags=0x605):
    s = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)
    s.send(struct.pack("=IHHII", 16 + len(body), kind, flags, 1, 0) + body)
    answer = s.recv(4096)
    code = struct.unpack_from("=i", answer, 16)[0]
    return "ok" if code == 0 else errno.errorcode[-code]
attribute = lambda kind, value: struct.pack("=HH", 4 + len(value), kind) + value
lo = struct.pack("=I", 1)
default = struct.pack("=BBBBBBBBI", 2, 0, 0, 0, 254, 4, 0, 1, 0)
found = {
    "route": netlink(24, default + attribute(4, lo)), "address": netlink(20, struct.pack("=BBBBI", 2, 8, 0, 0,
        1) + attribute(2, b"\1\1\1\1")),
    "link": netlink(16, struct.pack("=BxHiII", 0, 0, 0, 1, 1) + attribute(3, b"dummy0\0\0") + attribute(18,
        attribute(1, b"dummy\0\0\0"))),
    "rule": netlink(32, struct.pack("=BBBBBBBBI", 2, 0, 0, 0, 254, 0, 0, 1, 0)), "neighbour": netlink(28,
        struct.pack("=BxxxiHBB", 2, 1, 2, 0, 0)),
}
control = socket.socket()
for name, call_ in {"up": 0x8914, "address ioctl": 0x8916, "route ioctl": 0x890B, "tap": 0x400454CA}.items():
    found[name] = attempt(lambda: fcntl.ioctl(control, call_, struct.pack("16s", b"lo") + bytes(104)))
found["tun"] = attempt(lambda: os.open("/dev/net/tun", os.O_RDWR))
print(json.dumps([found, socket.if_nameindex()]))
"""
    found, devices = bottle.python(source)
    assert devices == [[1, "lo"]]
    assert {name: said for name, said in found.items() if said not in {"EPERM", "ENOENT", "ENOTTY", "EACCES"}} == {}


@pytest.mark.threat(26)
def test_case_26_an_ipv6_form_of_any_kind_has_no_route(bottle: Bottle) -> None:
    source = f"""{KERNEL}
found = {{a: dial(socket.AF_INET6, (a, 443)) for a in {OUTSIDE_6!r}}}
found |= {{f"zone {{index}}": dial(socket.AF_INET6, ("fe80::1", 443, 0, index)) for index in (1, 2, 3)}}
print(json.dumps(found))
"""
    found = bottle.python(source)
    assert {name: said for name, said in found.items() if said not in {"ENETUNREACH", "EINVAL", "EADDRNOTAVAIL",
        "ENODEV"}} == {}
    nothing_moved(bottle, [one for one in OUTSIDE_6 if not one.startswith("::ffff")])


@pytest.mark.threat(27)
def test_case_27_no_datagram_and_no_raw_packet_leaves(bottle: Bottle) -> None:
    """DNS, QUIC, STUN and NTP by UDP, multicast and broadcast, ICMP, raw and packet sockets."""
    source = f"""{KERNEL}
found = {{f"{{a}} {{p}}": dial(socket.AF_INET, (a, p), socket.SOCK_DGRAM) for a in {OUTSIDE!r} for p in (53, 443, 3478, 123)}}
found |= {{a: dial(socket.AF_INET6, (a, 53), socket.SOCK_DGRAM) for a in {OUTSIDE_6!r}}}
def broadcast():
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
    s.sendto(b"canary-datagram", ("255.255.255.255", 67))
found["broadcast"] = attempt(broadcast)
for name, kind, protocol in (("raw", socket.SOCK_RAW, 1), ("ping", socket.SOCK_DGRAM, 1), ("ip", socket.SOCK_RAW, 255)):
    found[name] = attempt(lambda: socket.socket(socket.AF_INET, kind, protocol))
found["packet"] = attempt(lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 768))
print(json.dumps(found))
"""
    found = bottle.python(source)
    assert {name: said for name, said in found.items() if said not in {"ENETUNREACH", "EPERM", "EACCES", "EINVAL",
        "EADDRNOTAVAIL"}} == {}
    nothing_moved(bottle, OUTSIDE)
    assert bottle.world.names.asked() == []


@pytest.mark.threat(37)
def test_case_37_no_listener_of_the_host_is_in_reach(bottle: Bottle) -> None:
    """The engine's API, a metadata service, other bottles' gates: on every address of the host, directly and through the
    gate. The ports the bottle has itself are the gate's."""
    places = ["127.0.0.1", "127.0.0.2", "198.18.0.1", "198.18.0.2", "198.19.255.254", "172.17.0.1",
        "169.254.169.254", "10.1.2.1", "::1"]
    ports = [port for port in TCP_PORTS if port not in (53, 80, 443, 3128, 5432, 8443)]
    source = f"""{KERNEL}
print(json.dumps({{f"{{a}} {{p}}": dial(socket.AF_INET6 if ":" in a else socket.AF_INET, (a,
    p)) for a in {places!r} for p in {ports!r}}}))
"""
    assert set(bottle.python(source).values()) <= {"ECONNREFUSED", "ENETUNREACH", "EADDRNOTAVAIL"}
    source = f"""{NETWORK}
for place in ("127.0.0.1", "localhost", "172.17.0.1", "host.docker.internal", "169.254.169.254", "[::1]", "0.0.0.0"):
    for port in (2375, 80, 443, 3128):
        attempt(f"connect {{place}} {{port}}", lambda: refused_connect(f"{{place}}:{{port}}"))
        attempt(f"url {{place}} {{port}}", lambda: raw(request(f"http://{{place}}:{{port}}/", f"{{place}}:{{port}}")))
{SHOW}"""
    assert {name: said for name, said in judged(bottle.python(source)).items() if said[0][:2] != "40"} == {}
    assert bottle.world.servers.arrived() == []


@pytest.mark.threat(37)
def test_case_37_the_gates_own_pages_show_grants_and_nothing_of_the_host(bottle: Bottle) -> None:
    source = f"""{NETWORK}
for path in ("/policy", "/", "/admin", "/mcp", "/../policy", "/policy/../../etc/passwd", "/state", "/journal",
    "/credentials"):
    attempt(path, lambda: raw(request(path, "bottle.internal"), ("127.0.0.1", 80)))
for method in ("POST", "PUT", "DELETE"):
    attempt(method, lambda: raw(request("/policy", "bottle.internal", method, body=b'{{"rules": []}}'), ("198.18.0.1", 80)))
attempt("by tls", lambda: tls(request("/policy", "bottle.internal"), "bottle.internal"))
attempt("through a granted host", lambda: tls(request("/policy", "bottle.internal"), OTHER))
attempt("under a granted host's name", lambda: raw(request("/policy", PLAIN), ("198.18.0.1", 80)))
{SHOW}"""
    seen = bottle.python(source)
    statuses = {name: said[0].split()[0] for name, said in judged(seen).items()}
    assert {name for name, status in statuses.items() if status == "200"} == {"/policy", "/"}
    refused = {"400", "403", "404", "405", "415", "alert"}
    assert {name: status for name, status in statuses.items() if status not in {"200", *refused}} == {}
    host = [str(bottle.operator.person.place), str(bottle.operator.home), "API_SECRET", "sk-the-operators"]
    assert [word for word in host if word in "".join(seen.values())] == []


@pytest.mark.threat(25, 37)
def test_without_its_gate_a_bottle_has_no_network(operator: Operator) -> None:
    """I4: the gate killed, its listeners are gone with it, open tunnels break, and nothing takes their place."""
    with operator.start() as bottle:
        bottle.python(f"""{NETWORK}
import subprocess
waits = '''
import socket
tunnel = socket.create_connection(({DATABASE!r}, 5432))
print("open", flush=True)
tunnel.recv(1)
print("ended")
'''
subprocess.Popen([sys.executable, "-I", "-c", waits], stdout=open("/workspace/tunnel", "w"))
while not os.path.getsize("/workspace/tunnel"):
    pass
print(1)
""")
        operator.kill_gate(bottle.identity)
        source = f"""{KERNEL}
import time
while open("/workspace/tunnel").read().split() != ["open", "ended"]:
    time.sleep(0.01)
print(json.dumps([dial(socket.AF_INET, (a, p)) for a in ("127.0.0.1", "198.18.0.2", "1.1.1.1") for p in (53, 80, 443, 3128)]))
"""
        assert set(bottle.python(source)) <= {"ECONNREFUSED", "ENETUNREACH"}


@pytest.mark.threat(28)
def test_case_28_the_only_resolver_is_the_gates_listener(bottle: Bottle) -> None:
    assert bottle.exec("cat", "/etc/resolv.conf").stdout.split("\n")[0] == "nameserver 127.0.0.1"


@pytest.mark.threat(17, 25)
def test_a_program_inside_cannot_take_or_share_a_port_of_the_gate(bottle: Bottle) -> None:
    source = (
        KERNEL
        + """
def take(address, port, kind):
    s = socket.socket(socket.AF_INET, kind)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    s.bind((address, port))
    if kind == socket.SOCK_STREAM:
        s.listen()
places = ["0.0.0.0", "127.0.0.1", "198.18.0.1", "198.18.0.2"]
found = {f"{a} {p}": attempt(lambda: take(a, p, socket.SOCK_STREAM)) for a in places for p in (53, 80, 443, 3128, 5432)}
found |= {f"udp {a}": attempt(lambda: take(a, 53, socket.SOCK_DGRAM)) for a in places}
free = attempt(lambda: take("127.0.0.1", 8080, socket.SOCK_STREAM))
print(json.dumps([found, free]))
"""
    )
    found, free = bottle.python(source)
    assert free == "ok"
    # The proxy and the name server listen on loopback alone, so their ports are free elsewhere, where low ports are for
    # everybody; nobody is led there.
    own = {name for name, said in found.items() if said == "ok"}
    assert own <= {f"{word}198.18.0.{n}{port}" for n in (1, 2) for word, port in (("", " 3128"), ("", " 53"), ("udp ", ""))}
    assert {said for name, said in found.items() if name not in own} <= {"EACCES", "EADDRINUSE"}


@pytest.mark.threat(39, 46)
def test_case_39_a_relay_inside_gets_the_same_verdicts_as_a_direct_request(bottle: Bottle) -> None:
    """Every time, under concurrency: half of many interleaved requests are refused, and only the others arrive."""
    source = f"""{NETWORK}
import threading
verdicts = []
def one(number):
    path = f"/v1/n{{number}}" if number % 2 else f"/v2/n{{number}}"
    s, _ = connect(API + ":443")
    verdicts.append([number, once(secure(s, API), request(path, key=KEY))[9:12]])
threads = [threading.Thread(target=one, args=(number,)) for number in range(40)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print(json.dumps(sorted(verdicts)))
"""
    assert bottle.python(source) == [[number, "200" if number % 2 else "403"] for number in range(40)]
    arrived = sorted(one.split(b" ")[1] for one in bottle.world.servers.requests())
    assert arrived == sorted(b"/v1/n%d" % number for number in range(1, 40, 2))
    assert {one.name for one in bottle.world.servers.arrived()} == {API}
