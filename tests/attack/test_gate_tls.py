"""Attack cases on TLS and who is spoken to (threats.md §2, 41–43, 50, 52): one name throughout, and nothing but TLS."""

from __future__ import annotations

import pytest

from tests.attack.operators import Bottle
from tests.attack.probes import NETWORK, SHOW, judged
from tests.attack.test_gate_names import WAYS
from tests.attack.world import API, OTHER, STRANGE
from tests.waiting import eventually

REFUSED = {"alert", "closed", "!ConnectionResetError", "!SSLEOFError", "!SSLError"}


def upstream_saw(bottle: Bottle) -> list[tuple[int, str, bytes]]:
    return [(one.port, one.name, bytes(one.data)) for one in bottle.world.servers.arrived()]


@pytest.mark.threat(41)
def test_case_41_no_name_may_differ_from_another(bottle: Bottle) -> None:
    """Dialled address, CONNECT target, its Host, SNI, Host and the URL: any pair that disagrees is refused."""
    source = f"""{NETWORK}
def tunnelled(target, sni, host, path="/v1/x", connect_host=None):
    s, answer = connect(target + ":443", connect_host)
    if s is None:
        return answer
    try:
        return once(secure(s, sni), request(path, host))
    except (OSError, ssl.SSLError) as problem:
        return "!" + type(problem).__name__ + " " + str(getattr(problem, "reason", "") or "")
attempt("address, sni", lambda: tls(request(host=OTHER), OTHER, address=API))
attempt("address, sni of the address", lambda: tls(request(host=OTHER), API, address=API))
attempt("address of nobody, sni", lambda: tls(request(), API, address="198.19.7.7"))
attempt("the proxy's own address, sni", lambda: tls(request(), API, address="127.0.0.1"))
attempt("address, host in plain http", lambda: raw(request("/", PLAIN), (OTHER, 80)))
attempt("address of nobody, host", lambda: raw(request("/", PLAIN), ("198.19.7.7", 80)))
attempt("sni, host", lambda: tls(request(host=OTHER)))
attempt("sni, evil host", lambda: tls(request(host=EVIL)))
attempt("evil sni", lambda: tls(request(), EVIL, address=API))
attempt("sni, url", lambda: tls(request(f"https://{{OTHER}}/v1/x")))
attempt("host, url", lambda: tls(request(f"https://{{API}}/v1/x", OTHER)))
attempt("two hosts", lambda: tls(request(headers=[f"Host: {{OTHER}}"])))
attempt("two equal hosts", lambda: tls(request(headers=[f"Host: {{API}}"])))
attempt("no host", lambda: tls(b"GET /v1/x HTTP/1.1\\r\\nConnection: close\\r\\n\\r\\n"))
attempt("host list", lambda: tls(request(host=f"{{API}}, {{OTHER}}")))
attempt("connect, sni", lambda: tunnelled(API, OTHER, OTHER))
attempt("connect, host", lambda: tunnelled(API, API, OTHER))
attempt("connect, evil host", lambda: tunnelled(OTHER, OTHER, EVIL))
attempt("connect, its host", lambda: tunnelled(API, API, API, connect_host=OTHER.encode() + b":443"))
attempt("connect, its host's port", lambda: tunnelled(API, API, API, connect_host=API.encode() + b":80"))
attempt("tunnel rule, sni", lambda: tunnelled(TUNNEL, API, API))
attempt("tunnel rule, evil sni", lambda: tls(request(host=EVIL), EVIL, address=TUNNEL))
attempt("tunnel rule, the api's sni", lambda: tls(request(), API, address=TUNNEL))
attempt("proxy url, host", lambda: raw(request(f"http://{{PLAIN}}/", OTHER)))
attempt("proxy url, evil host", lambda: raw(request(f"http://{{PLAIN}}/", EVIL)))
attempt("proxy path", lambda: raw(request("/", PLAIN)))
attempt("forwarded host", lambda: tls(request("/ok", OTHER, headers=[f"X-Forwarded-Host: {{EVIL}}",
    f"Forwarded: host={{EVIL}}",
        f"X-Host: {{EVIL}}", f"X_Forwarded_Host: {{EVIL}}"]), OTHER))
{SHOW}"""
    found = judged(bottle.python(source))
    assert found.pop("forwarded host") == ["200"]
    assert {name: said for name, said in found.items() if said[0][:1] not in "4a!" or len(said) > 1} == {}
    assert bottle.world.servers.requests() == [b"GET /ok HTTP/1.1\r\nhost: %s\r\n\r\n" % OTHER.encode()]
    assert [one for one in upstream_saw(bottle) if one[1] != OTHER] == []


@pytest.mark.threat(42)
def test_case_42_what_is_not_tls_is_cut_off_before_upstream_sees_a_byte(bottle: Bottle) -> None:
    source = f"""{NETWORK}
SAY = {{"ssh": b"SSH-2.0-OpenSSH_9.6\\r\\n", "http": request(), "zeros": bytes(64), "smtp": b"EHLO evil\\r\\n",
       "tls but no hello": b"\\x17\\3\\3\\0\\5hello", "ssl2": b"\\x80\\x2e\\1\\0\\2", "socks": b"\\5\\1\\0",
           "alert": b"\\x15\\3\\3\\0\\2\\2\\0",
       "http2": b"PRI * HTTP/2.0\\r\\n\\r\\nSM\\r\\n\\r\\n"}}
def inside(host, data):
    s, answer = connect(host + ":443")
    return answer if s is None else once(s, data)
for host in (API, OTHER, TUNNEL):
    for name, data in SAY.items():
        attempt(f"{{name}} in a tunnel to {{host}}", lambda: inside(host, data))
        attempt(f"{{name}} to {{host}}", lambda: raw(data, (host, 443)))
{SHOW}"""
    found = judged(bottle.python(source))
    assert {name: said for name, said in found.items() if not set(said) <= REFUSED} == {}
    assert upstream_saw(bottle) == []
    eventually(lambda: "not_tls" in {one["reason"] for one in bottle.decisions()})


@pytest.mark.threat(43)
def test_case_43_a_hello_without_one_readable_name_is_refused(bottle: Bottle) -> None:
    source = f"""{NETWORK}{WAYS}
def hellos(good):
    two = struct.pack(">H", 2 * (len(good) + 3)) + 2 * (b"\\0" + struct.pack(">H", len(good)) + good)
    return {{
        "no name": extension(10, b"\\0\\2\\0\\x1d"), "no extensions": b"", "empty name": server_name(b""),
        "two names": extension(0, two), "two extensions": server_name(good) * 2, "another kind of name": server_name(good, 1),
        "encrypted": server_name(good) + extension(0xfe0d, bytes(64)),
        "encrypted, other name": server_name(b"public.test") + extension(0xfe0d, bytes(64)),
        "name with a nul": server_name(good + b"\\0.evil.test"), "an address": server_name(b"10.1.2.3"),
        "longer than it says": extension(0, struct.pack(">H", 4) + b"\\0\\0\\2ab" + good),
        "a trailing byte": server_name(good) + b"\\0", "cut short": server_name(good)[:5] + b"\\xff",
    }}
def nameless():
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return once(context.wrap_socket(socket.create_connection((API, 443))), request())
def oversized():
    s = socket.create_connection((API, 443))
    body = b"\\1" + struct.pack(">I", 1 << 20)[1:]
    record = b"\\x16\\3\\1" + struct.pack(">H", 1 << 14) + body + bytes((1 << 14) - 4)
    try:
        s.sendall(record * 40)
    except OSError:
        pass
    return read(s)
for address in (API, TUNNEL):
    for name, extensions in hellos(address.encode()).items():
        attempt(f"{{name}} to {{address}}", lambda: raw(hello(extensions), (address, 443)))
attempt("a client that sends none", nameless)
attempt("oversized", oversized)
attempt("a record that is too long", lambda: raw(b"\\x16\\3\\1\\xff\\xff" + bytes(70000), (API, 443)))
{SHOW}"""
    found = judged(bottle.python(source))
    assert {name: said for name, said in found.items() if not set(said) <= REFUSED} == {}
    assert upstream_saw(bottle) == []
    eventually(lambda: "no_sni" in {one["reason"] for one in bottle.decisions()})


@pytest.mark.threat(102)
def test_case_102_no_escape_of_the_agents_reaches_the_operators_screen(bottle: Bottle) -> None:
    """By the gate's journal and what commands print of it: names, paths, methods with escapes, bidi and line ends."""
    evil = ["a\x1b[2Jb", "a\x1b]52;c;ZXZp\x07b", "a\rb", "a\nclaude-bottle: all is well", "a\u202eb", "a\x9b31mb"]
    source = f"""{NETWORK}{WAYS}
def ask(method, path, host):
    return raw(method + b" /" + path + b" HTTP/1.1\\r\\nHost: " + host + b"\\r\\nConnection: close\\r\\n\\r\\n", (PLAIN, 80))
for number, text in enumerate({evil!r}):
    data, plain = text.encode(), PLAIN.encode()
    escaped = "".join(f"%{{byte:02x}}" for byte in data).encode()
    for name, say in WAYS.items():
        attempt(f"{{name}} {{number}}", lambda: say(data))
    attempt(f"path {{number}}", lambda: ask(b"GET", data, plain))
    attempt(f"escaped {{number}}", lambda: ask(b"GET", escaped, plain))
    attempt(f"elsewhere {{number}}", lambda: ask(b"GET", escaped, EVIL.encode()))
    attempt(f"method {{number}}", lambda: ask(data, b"", plain))
{SHOW}"""
    bottle.python(source)
    eventually(lambda: any(one["reason"] == "bad_host" for one in bottle.decisions()))
    said = "".join(bottle.operator.do(*words, bottle.identity) for words in (("log",), ("log", "--json"), ("egress",)))
    assert "bad_host" in said
    assert [char for char in said if not char.isprintable() and char != "\n"] == []
    assert not [line for line in said.splitlines() if line.startswith("claude-bottle: all is well")]


@pytest.mark.threat(43)
def test_case_43_a_hello_in_many_pieces_is_judged_like_one(bottle: Bottle) -> None:
    """Byte by byte, and split over several TLS records: the granted name is served, the other one is not."""
    source = f"""{NETWORK}{WAYS}
def in_pieces(data, address):
    s = socket.create_connection((address, 443))
    s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for byte in data:
        s.sendall(bytes([byte]))
    return s
def records(data, size):
    message = data[5:]
    pieces = [message[at:at + size] for at in range(0, len(message), size)]
    return b"".join(b"\\x16\\3\\1" + struct.pack(">H", len(piece)) + piece for piece in pieces)
def session(name, address, size):
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = ssl.create_default_context().wrap_bio(incoming, outgoing, server_hostname=name)
    try:
        client.do_handshake()
    except ssl.SSLWantReadError:
        pass
    first = outgoing.read()
    s = in_pieces(records(first, size) if size else first, address)
    s.settimeout(WAIT)
    while True:
        try:
            client.do_handshake()
            break
        except ssl.SSLWantReadError:
            s.sendall(outgoing.read())
            if not (data := s.recv(65536)):
                return ""
            incoming.write(data)
    return client.getpeercert()["subjectAltName"][0][1]
for size in (0, 1, 7, 100):
    attempt(f"good {{size}}", lambda: session(API, API, size))
    attempt(f"evil {{size}}", lambda: session(EVIL, API, size))
    attempt(f"evil to a tunnel {{size}}", lambda: session(EVIL, TUNNEL, size))
{SHOW}"""
    seen = bottle.python(source)
    good = {name: said for name, said in seen.items() if name.startswith("good")}
    # OpenSSL, which the gate ends TLS with, gives up on very many tiny records; refusing those is as safe.
    assert set(good.values()) <= {API,
        "!SSLError [SSL] record layer failure"} and good["good 0"] == good["good 100"] == API, good
    assert {said for name, said in seen.items() if name.startswith("evil")
        and "UNRECOGNIZED_NAME" not in said.upper()} == set()
    assert upstream_saw(bottle) == []


@pytest.mark.threat(41, 45, 49, 50)
def test_case_50_http_2_is_neither_offered_nor_understood(bottle: Bottle) -> None:
    """Its :authority could say another host than SNI; there is no way to say it."""
    source = f"""{NETWORK}
def offered():
    CONTEXT.set_alpn_protocols(["h2", "http/1.1"])
    s = secure(socket.create_connection((API, 443)), API)
    return s.selected_alpn_protocol() + " " + once(s, b"PRI * HTTP/2.0\\r\\n\\r\\nSM\\r\\n\\r\\n" + bytes(9))
attempt("offered", offered)
attempt("prior knowledge", lambda: raw(b"PRI * HTTP/2.0\\r\\n\\r\\nSM\\r\\n\\r\\n", (PLAIN, 80)))
attempt("upgrade", lambda: raw(request("/", PLAIN, headers=["Upgrade: h2c",
    "HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA"]), (PLAIN, 80)))
attempt("websocket", lambda: tls(request(headers=["Upgrade: websocket", "Sec-WebSocket-Key: x"])))
{SHOW}"""
    seen = bottle.python(source)
    assert seen["offered"].startswith("http/1.1 HTTP/1.1 400 ")
    assert judged(seen) | {"offered": []} == {
        "offered": [], "prior knowledge": ["400 bad_request"], "upgrade": ["403 upgrade_refused"],
        "websocket": ["403 upgrade_refused"],
    }  # fmt: skip
    assert upstream_saw(bottle) == []


@pytest.mark.threat(52)
def test_case_52_a_server_that_cannot_prove_its_name_gets_no_request(bottle: Bottle) -> None:
    """Expired, self-signed, somebody else's: 502, and nothing a bottle says switches the check off."""
    source = f"""{NETWORK}
for name in {list(STRANGE)!r}:
    attempt(name, lambda: tls(request("/secret", name), name))
    attempt("insecure " + name, lambda: tls(request("/secret", name, headers=["X-Insecure: 1", "X-Verify: false"]), name))
attempt("good", lambda: tls(request("/good", OTHER), OTHER))
{SHOW}"""
    found = judged(bottle.python(source))
    assert found.pop("good") == ["200"]
    assert set(map(tuple, found.values())) == {("502 upstream_tls",)}, found
    assert [one for one in upstream_saw(bottle) if one[1] in STRANGE and one[2]] == []

    def recorded() -> set[str]:
        traffic = [line["data"] for line in bottle.operator.journal(bottle.identity) if line["kind"] == "traffic"]
        return {one["host"] for one in traffic if "upstream_tls" in one["why"]}

    eventually(lambda: set(STRANGE) <= recorded())
