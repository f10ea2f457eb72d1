"""Attack cases on HTTP (threats.md §2, 40, 44–48, 51): each request is read once, strictly, judged, and written anew."""

from __future__ import annotations

import pytest

from tests.attack.operators import SECRET, Bottle
from tests.attack.probes import NETWORK, SHOW, judged
from tests.attack.world import API, OTHER, PLAIN


@pytest.mark.threat(44)
def test_case_44_a_head_that_two_parsers_could_read_differently_is_refused(bottle: Bottle) -> None:
    source = f"""{NETWORK}
BODY = b"0\\r\\n\\r\\nGET /smuggled HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n"
N = b"Content-Length: %d" % len(BODY)
FIELDS = {{
    "length and chunked": [N, b"Transfer-Encoding: chunked"], "chunked and length": [b"Transfer-Encoding: chunked", N],
    "two lengths": [N, b"Content-Length: 5"], "two equal lengths": [N, N], "a list of lengths": [b"Content-Length: 5, 5"],
    "a signed length": [b"Content-Length: +5"], "a negative length": [b"Content-Length: -5"],
        "hexadecimal": [b"Content-Length: 0x5"],
    "an empty length": [b"Content-Length:"], "a spaced length": [b"Content-Length: 5 5"],
        "an underscore": [b"Content-Length: 1_0"],
    "huge": [b"Content-Length: " + b"9" * 30], "unicode digits": ["Content-Length: ５".encode()],
    "chunked is not last": [b"Transfer-Encoding: chunked, gzip"], "identity": [b"Transfer-Encoding: identity"],
    "chunked twice": [b"Transfer-Encoding: chunked, chunked"], "two codings": [b"Transfer-Encoding: chunked"] * 2,
    "a tab before chunked": [b"Transfer-Encoding: \\x0bchunked"], "xchunked": [b"Transfer-Encoding: xchunked"],
    "quoted": [b'Transfer-Encoding: "chunked"'], "look-alike": [b"Transfer_Encoding: chunked"],
        "look-alike 2": [b"Content_Length: 5"],
    "space before the colon": [b"Content-Length : 5"], "tab before the colon": [b"Transfer-Encoding\\t: chunked"],
    "folded": [b"X-Odd: 1\\r\\n 2"], "a folded coding": [b"Transfer-Encoding:\\r\\n chunked"],
        "bare cr": [b"X-Odd: 1\\rTransfer-Encoding: chunked"],
    "bare lf": [b"X-Odd: 1\\nTransfer-Encoding: chunked"], "nul": [b"X-Odd: 1\\0"],
        "nul in a name": [b"X-\\0Odd: 1"], "no colon": [b"X-Odd"],
    "no name": [b": 1"], "a space in a name": [b"X Odd: 1"], "not a token": [b"X(Odd): 1"],
        "high bytes in a name": [b"X-\\xff: 1"],
    "leading space": [b" X-Odd: 1"], "two hosts": [b"Host: " + API.encode()],
}}
def sent(fields):
    head = b"\\r\\n".join([b"POST /v1/x HTTP/1.1", b"Host: " + API.encode(), b"x-api-key: " + KEY.encode(), *fields])
    return tls(head + b"\\r\\n\\r\\n" + BODY)
for name, fields in FIELDS.items():
    attempt(name, lambda: sent(fields))
LINES = {{"no version": b"GET /v1/x", "HTTP/0.9": b"GET /v1/x HTTP/0.9", "HTTP/2.0": b"GET /v1/x HTTP/2.0",
    "HTTP/1.2": b"GET /v1/x HTTP/1.2",
    "two spaces": b"GET  /v1/x HTTP/1.1", "a tab": b"GET\\t/v1/x HTTP/1.1", "a space in the path": b"GET /v1/ x HTTP/1.1",
    "trailing space": b"GET /v1/x HTTP/1.1 ", "lower case": b"GET /v1/x http/1.1",
        "leading blank line": b"\\r\\nGET /v1/x HTTP/1.1",
    "leading lf": b"\\nGET /v1/x HTTP/1.1", "control in the path": b"GET /v1/\\x01 HTTP/1.1",
        "nul in the method": b"G\\0ET /v1/x HTTP/1.1"}}
for name, line in LINES.items():
    attempt(name, lambda: tls(line + b"\\r\\nHost: " + API.encode() + b"\\r\\n\\r\\n"))
    attempt("plain " + name, lambda: raw(line + b"\\r\\nHost: " + PLAIN.encode() + b"\\r\\n\\r\\n", (PLAIN, 80)))
attempt("lf only", lambda: tls(b"GET /v1/x HTTP/1.1\\nHost: " + API.encode() + b"\\n\\n"))
attempt("many fields", lambda: tls(request(headers=[f"X-{{n}}: 1" for n in range(300)])))
attempt("a large head", lambda: tls(request(headers=["X: " + "a" * 70000])))
{SHOW}"""
    found = judged(bottle.python(source))
    assert {found.pop("many fields")[0], found.pop("a large head")[0]} == {"431 too_large"}
    assert {name: said for name, said in found.items() if said != ["400 bad_request"]} == {}
    assert bottle.world.servers.arrived() == []


@pytest.mark.threat(44, 45)
def test_case_45_a_body_with_broken_chunks_is_never_completed_upstream(bottle: Bottle) -> None:
    """What went up of it ends with a cut connection, so that no server takes it for whole or reads on after it."""
    smuggled = b"GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n"
    chunks = {
        "size and garbage": b"5 x\r\nhello\r\n0\r\n\r\n", "a signed size": b"+5\r\nhello\r\n0\r\n\r\n",
            "0x": b"0x5\r\nhello\r\n0\r\n\r\n",
        "bare lf": b"5\nhello\n0\n\n", "no end of chunk": b"5\r\nhello0\r\n\r\n", "a huge size": b"f" * 20 + b"\r\nhello",
        "a negative size": b"-1\r\n" + smuggled, "an empty size": b"\r\nhello\r\n0\r\n\r\n",
            "a long extension": b"5;" + b"a" * 70000,
        "lf in an extension": b"5;a\nb\r\nhello\r\n0\r\n\r\n", "short": b"5\r\nhelloGET /smuggled HTTP/1.1\r\n\r\n",
    }  # fmt: skip
    unfinished = {"bare lf", "a huge size"}  # may yet become whole: no line, no end
    source = f"""{NETWORK}
forever = WAIT
for name, body in {chunks!r}.items():
    WAIT = 0.5 if name in {unfinished!r} else forever
    attempt(name, lambda: tls(request("/v1/chunks", method="POST", headers=["Transfer-Encoding: chunked"], key=KEY) + body))
{SHOW}"""
    found = judged(bottle.python(source))
    assert {name: said for name, said in found.items() if said not in (["400 bad_request"], ["closed"],
        ["!TimeoutError"])} == {}
    assert {name for name, said in found.items() if said == ["!TimeoutError"]} == unfinished
    assert bottle.world.servers.requests() == []
    assert b"smuggled" not in b"".join(bytes(one.data) for one in bottle.world.servers.arrived())


@pytest.mark.threat(45)
def test_case_45_a_request_behind_another_is_judged_by_itself(bottle: Bottle) -> None:
    """In the same bytes: after a body, after the last chunk, after CONNECT's head, after a refusal, after the end."""
    source = f"""{NETWORK}
again = request("/admin", key=KEY)
first = dict(method="POST", key=KEY, close=False)
def behind_connect():
    s = socket.create_connection(PROXY)
    s.sendall(request(API + ":443", API + ":443", "CONNECT", close=False) + request("/v1/early"))
    return read(s).split("\\r\\n\\r\\n", 1)[1]
attempt("after a body", lambda: tls(request("/v1/a", body=b"hello", **first) + again))
attempt("after the last chunk", lambda: tls(request("/v1/b", headers=["Transfer-Encoding: chunked"],
    **first) + b"5\\r\\nhello\\r\\n0\\r\\n\\r\\n" + again))
attempt("after trailers", lambda: tls(request("/v1/c", headers=["Transfer-Encoding: chunked"],
    **first) + b"0\\r\\nHost: evil.test\\r\\n"
        b"x-api-key: evil\\r\\n\\r\\n" + again))
attempt("after a refusal", lambda: tls(request("/admin", method="POST", body=b"hello", key=KEY,
    close=False) + request("/v1/d", key=KEY)))
attempt("after a get", lambda: tls(request("/v1/e", key=KEY, close=False) + again))
attempt("after close", lambda: tls(request("/v1/f", key=KEY) + request("/v1/g", key=KEY)))
attempt("after HTTP/1.0", lambda: tls(request("/v1/h", key=KEY, close=False).replace(b"1.1\\r\\n", b"1.0\\r\\n",
    1) + request("/v1/i", key=KEY)))
attempt("more than the length", lambda: tls(request("/v1/j", body=b"hello", **first) + b"XXGET /v1/k HTTP/1.1\\r\\n\\r\\n"))
attempt("expect", lambda: tls(request("/v1/l", headers=["Expect: 100-continue"], body=b"hello", **first) + again))
attempt("behind connect", behind_connect)
attempt("plain for another host", lambda: raw(request("/m", PLAIN, close=False) + request("/n", OTHER), (PLAIN, 80)))
{SHOW}"""
    found = judged(bottle.python(source))
    assert found == {
        "after a body": ["200", "403 path_not_granted"], "after the last chunk": ["200", "403 path_not_granted"],
        "after trailers": ["200", "403 path_not_granted"], "after a refusal": ["403 path_not_granted"],
        "after a get": ["200", "403 path_not_granted"], "after close": ["200"], "after HTTP/1.0": ["200"],
        "more than the length": ["200", "400 bad_request"], "expect": found["expect"], "behind connect": ["alert"],
        "plain for another host": ["200", "403 port_not_granted"],
    }  # fmt: skip
    assert [one for one in found["expect"] if one != "100"] == ["200", "403 path_not_granted"]
    arrived = bottle.world.servers.requests()
    assert [one.split(b" ")[1].decode() for one in arrived] == [f"/{'' if c == 'm' else 'v1/'}{c}" for c in "abcefhjlm"]
    assert b"evil" not in b"".join(arrived)


@pytest.mark.threat(45)
def test_case_45_after_a_body_that_servers_overlook_no_request_is_read(bottle: Bottle) -> None:
    """Some take the body of a GET for the next request: told that there is none, and spoken to no more."""
    source = f"""{NETWORK}
hidden = b"GET /admin HTTP/1.1\\r\\nHost: " + OTHER.encode() + b"\\r\\n\\r\\n"
for method in ("GET", "DELETE", "OPTIONS"):
    two = request("/first", OTHER, method, body=hidden, close=False) + request("/second", OTHER)
    attempt(method, lambda: tls(two, OTHER))
{SHOW}"""
    assert judged(bottle.python(source)) == {method: ["200", "200"] for method in ("GET", "DELETE", "OPTIONS")}
    said = [bytes(one.data).split(b" /first ") for one in bottle.world.servers.arrived()]
    after = [rest for _, *parts in said for rest in parts]
    assert len(after) == 3
    assert all(b"\r\nconnection: close\r\n" in one and b"/second" not in one for one in after)


@pytest.mark.threat(46)
def test_case_46_each_request_of_a_kept_connection_is_judged(bottle: Bottle) -> None:
    source = f"""{NETWORK}
def answer(s, data):
    s.sendall(data)
    got = head(s)
    length = int(got.lower().split(b"content-length: ")[1].split(b"\\r\\n")[0])
    body = b""
    while len(body) < length:
        body += s.recv(length - len(body))
    return (got + body).decode("latin-1")
def conversation(s, pairs):
    return [answer(s, request(path, host, method, key=KEY if host == API else None, close=False)) for method, host,
        path in pairs]
GO = [("GET", API, "/v1/a"), ("GET", API, "/v2/a"), ("DELETE", API, "/v1/a"), ("GET", OTHER, "/"), ("GET", EVIL,
    "/"), ("GET", API, "/v1/b"),
      ("GET", API, "/v1/../admin"), ("HEAD", API, "/admin"), ("GET", API, "/v1/c")]
attempt("transparent", lambda: conversation(secure(socket.create_connection((API, 443)), API), GO[:-2]))
attempt("tunnelled", lambda: conversation(secure(connect(API + ":443")[0], API), GO[:-2]))
URLS = [("GET", PLAIN, f"http://{{PLAIN}}/d"), ("GET", OTHER, f"http://{{OTHER}}/e"), ("GET", EVIL,
    f"http://{{EVIL}}/"), ("GET", PLAIN, f"http://{{PLAIN}}/f")]
attempt("proxied", lambda: conversation(socket.create_connection(PROXY), URLS))
{SHOW}"""
    seen = bottle.python(source)
    verdicts = {name: [judged({"": one})[""][0] for one in answers] for name, answers in seen.items()}
    https = ["200", "403 path_not_granted", "403 method_not_granted", "403 name_mismatch", "403 host_not_granted", "200"]
    assert verdicts == {
        "transparent": [*https, "400 bad_request"], "tunnelled": [*https, "400 bad_request"],
        "proxied": ["200", "403 port_not_granted", "403 host_not_granted", "200"],
    }  # fmt: skip
    assert [one.split(b" ")[1] for one in bottle.world.servers.requests()] == [b"/v1/a", b"/v1/b"] * 2 + [b"/d", b"/f"]


TRICKS = [
    "/v1/../admin", "/v1/./x", "/v1/x/..", "/v1/..", "/v1/.", "/../v1/x", "/v1/%2e%2e/admin", "/v1/%2E%2e/admin",
        "/v1/.%2e/admin",
    "/v1/..%2fadmin", "/v1/%252e%252e/admin", "/v1/%25%32%65/x", "//v1/x", "/v1//x", "/v1/x//", "/v1\\x", "/v1/..\\admin",
    "/v1/%5c..%5cadmin", "/v1/..;/admin", "/v1/..;x=1/admin", "/v1/;/x", "/v1/x%00", "/v1/x\x01", "/v1/%0d%0aX:1",
        "/v1/%zz", "/v1/%",
    "/v1/%c0%ae%c0%ae/admin", "/v1/%e0%80%ae", "/v1/%ff", "/v1/\xe9", "/v1/%ef%bc%8fadmin", "/v1/%ef%bc%8e%ef%bc%8e/admin",
    "/v1/%uff0e%uff0e/admin", "/v1/x#y", "/v1/x y", "v1/x", "*", "", "?/v1/x", "/v1/%u002e", "/v1/" + "a" * 70000,
]  # fmt: skip
OUTSIDE = ["/", "/v1", "/V1/x", "/v2/x", "/v1%2fx", "/v1%2F..%2Fadmin", "/%76%31x/y", "/v1;a/x", "/v1?/x", "/admin",
    "/v10/x", "/v1%3f/x"]


@pytest.mark.threat(47)
def test_case_47_a_path_is_matched_and_sent_on_in_one_spelling_or_refused(bottle: Bottle) -> None:
    source = f"""{NETWORK}
for path in {TRICKS + OUTSIDE!r}:
    attempt("tls " + path[:40], lambda: tls(request(path, key=KEY)))
attempt("good", lambda: tls(request("/v1/%7euser/%61/caf%c3%a9?q=/../%2e", key=KEY)))
{SHOW}"""
    found = judged(bottle.python(source))
    assert found.pop("good") == ["200"]
    outside = {path: found.pop("tls " + path) for path in OUTSIDE}
    assert {path: said for path, said in outside.items() if said not in (["403 path_not_granted"], ["400 bad_request"])} == {}
    assert {path: said for path, said in found.items() if said[0].split()[0] not in ("400", "431")} == {}
    sent = [one.split(b"\r\n")[0] for one in bottle.world.servers.requests()]
    assert sent == [b"GET /v1/~user/a/caf%C3%A9?q=/../%2e HTTP/1.1"]


@pytest.mark.threat(47, 48)
def test_case_48_a_method_counts_as_it_is_and_cannot_be_overridden(bottle: Bottle) -> None:
    """48, 60: odd case and own verbs are refused, TRACE is never granted, override headers do not go up."""
    source = f"""{NETWORK}
for method in ("DELETE", "PUT", "get", "Get", "TRACE", "TRACK", "CONNECT", "OPTIONS", "PROPFIND", "GETX", "G", "X-GET"):
    attempt(method, lambda: tls(request(method=method, key=KEY)))
for method in ("TRACE", "TRACK", "get"):
    attempt("any " + method, lambda: tls(request("/", OTHER, method), OTHER))
names = ["X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override", "X_HTTP_Method_Override", "X-Original-URL",
    "X-Rewrite-URL"]
attempt("overridden", lambda: tls(request("/v1/o", method="POST", key=KEY,
    headers=[name + ": DELETE" for name in names], body=b"x")))
{SHOW}"""
    found = judged(bottle.python(source))
    assert found.pop("overridden") == ["200"]
    assert {tuple(said) for said in found.values()} <= {("403 method_not_granted",), ("400 bad_request",)}, found
    (sent,) = bottle.world.servers.requests()
    assert b"delete" not in sent.lower()


@pytest.mark.threat(51)
def test_case_51_a_url_cannot_name_another_place_than_its_connection(bottle: Bottle) -> None:
    source = f"""{NETWORK}
for url in ("https://{OTHER}/v1/x", "http://{API}/v1/x", "https://evil.test/", "https://{API}:8443/v2/x", "https://{API}@evil.test/",
            "https://evil.test@{API}/v1/x", "//{OTHER}/", "https:/{OTHER}/", "https:///v1/x", "https://", "HTTPS://{OTHER}/", "ftp://{API}/v1/x",
            "https://{API}\\\\@evil.test/v1/x", "https://{API}%00.evil.test/v1/x", "file:///etc/passwd", "https://[::1]/"):
    for host in ("{API}", "{OTHER}", "evil.test"):
        attempt(f"{{url}} {{host}}", lambda: tls(request(url, host, key=KEY)))
for url in ("https://{API}/v1/x", "https://{OTHER}/", "https://evil.test/", "HTTPS://{PLAIN}:80/", "ws://{PLAIN}/",
    "{PLAIN}:80", "http://{PLAIN}:443/"):
    for host in ("{API}", "{PLAIN}", "evil.test"):
        attempt(f"plain {{url}} {{host}}", lambda: raw(request(url, host)))
        attempt(f"to port 80 {{url}} {{host}}", lambda: raw(request(url, host), (PLAIN, 80)))
attempt("own", lambda: tls(request(f"https://{API}/v1/own", key=KEY)))
{SHOW}"""
    found = judged(bottle.python(source))
    assert found.pop("own") == ["200"]
    assert {name: said for name, said in found.items() if said[0][:1] != "4" or len(said) > 1} == {}
    assert [one.split(b" ")[1] for one in bottle.world.servers.requests()] == [b"/v1/own"]


@pytest.mark.threat(40, 46, 61)
def test_case_40_a_redirect_is_passed_on_and_its_target_judged_afresh(bottle: Bottle) -> None:
    """40, 61: the gate follows none, so no credential crosses to another place."""
    answer = b"HTTP/1.1 302 Found\r\nlocation: https://%s/taken\r\ncontent-length: 0\r\n\r\n"
    bottle.world.servers.answers[b"/v1/redirect"] = answer % b"evil.test"
    source = f"""{NETWORK}
attempt("redirect", lambda: tls(request("/v1/redirect", key=KEY)))
attempt("followed", lambda: tls(request("/taken", EVIL, key=KEY), EVIL, address=API))
attempt("followed inwards", lambda: tls(request("/taken", OTHER, key=KEY), OTHER))
{SHOW}"""
    seen = bottle.python(source)
    assert judged(seen) == {"redirect": ["302"], "followed": ["alert"], "followed inwards": ["403 credential_foreign"]}
    assert "location: https://evil.test/taken" in seen["redirect"]
    assert [one.split(b" ")[1] for one in bottle.world.servers.requests()] == [b"/v1/redirect"]
    assert SECRET.encode() in bottle.world.servers.requests()[0]


@pytest.mark.threat(49)
def test_case_49_a_server_that_switches_protocols_unasked_is_not_followed(bottle: Bottle) -> None:
    """Nor asked: the request for it is refused before, and no field of the hop goes up."""
    bottle.world.servers.answers[b"/v1/switch"] = (
        b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n\x81\x05hello"
    )
    source = f"""{NETWORK}
attempt("unasked", lambda: tls(request("/v1/switch", key=KEY)))
ask = ["Upgrade: websocket", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="]
attempt("asked", lambda: tls(request("/v1/asked", key=KEY, headers=["Connection: Upgrade, close", *ask], close=False)))
attempt("asked by proxy", lambda: raw(request(f"http://{PLAIN}/", PLAIN, headers=["Connection: keep-alive, Upgrade", *ask])))
{SHOW}"""
    seen = bottle.python(source)
    assert judged(seen) == {"unasked": ["403 upgrade_refused"], "asked": ["403 upgrade_refused"],
                            "asked by proxy": ["403 upgrade_refused"]}  # fmt: skip
    assert "hello" not in seen["unasked"]
    assert [one.split(b" ")[1] for one in bottle.world.servers.requests()] == [b"/v1/switch"]
