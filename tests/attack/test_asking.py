"""Attack cases on the way an agent asks (threats.md §2, 75, 77): what it says there is a request, and never an answer.

What is asked for in the shared bottle stays undecided: nobody answers. The desk itself, its floods and its waits, is tried
in tests/gate/test_asking.py.
"""

from __future__ import annotations

import json

import pytest

from tests.attack.operators import Bottle
from tests.attack.probes import NETWORK, SHOW
from tests.attack.world import EVIL

FLOORS = ["*", "com", "*.example.com", "10.0.0.0/8", "169.254.169.254", "[::1]", "metadata.google.internal", "localhost",
          "host.docker.internal", "bottle.internal", "2130706433", "0x7f.1", "a.example/x", "user@a.example"]  # fmt: skip
ASK = r"""
import json
JSON = ["Content-Type: application/json", "Accept: application/json, text/event-stream"]
OWN = ("198.18.0.1", 80)
def say(method, path, said, *more):
    return raw(request(path, "bottle.internal", method, [*JSON, *more], json.dumps(said).encode()), OWN)
def rpc(method, params, session=""):
    more = ["Mcp-Session-Id: " + session] if session else []
    return say("POST", "/mcp", {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}, *more)
def begin():
    head = rpc("initialize", {"protocolVersion": "2025-11-25"}).split("\r\n\r\n")[0]
    return next(line.split(": ")[1] for line in head.split("\r\n") if line.startswith("mcp-session-id"))
"""


@pytest.mark.threat(77)
def test_case_77_what_may_never_be_granted_is_refused_with_the_reason_and_asked_of_nobody(bottle: Bottle) -> None:
    source = f"""{NETWORK}{ASK}
session = begin()
for host in {FLOORS!r}:
    rules = [{{"host": host}}]
    attempt("http " + host, lambda: say("POST", "/request", {{"kind": "egress", "rules": rules, "reason": "x"}}))
    arguments = {{"rules": rules, "reason": "x"}}
    attempt("mcp " + host, lambda: rpc("tools/call", {{"name": "request_egress", "arguments": arguments}}, session))
for name, change in {{
    "all ports": {{"kind": "egress", "rules": [{{"host": "a.example", "port": 0}}]}},
    "every path": {{"kind": "credential", "rule": {{"host": "a.example", "credential": "api", "paths": ["/**"]}}}},
    "plain": {{"kind": "credential", "rule": {{"host": "a.example", "credential": "api", "port": 80}}}},
    "many": {{"kind": "egress", "rules": [{{"host": f"h{{n}}.example"}} for n in range(100)]}},
    "long": {{"kind": "egress", "rules": [{{"host": "a.example", "paths": ["/" + "x" * 60000]}}]}},
    "unsaid": {{"kind": "policy", "rules": []}},
}}.items():
    attempt("http " + name, lambda: say("POST", "/request", {{**change, "reason": "x"}}))
attempt("asked", lambda: raw(request("/request", "bottle.internal"), OWN))
{SHOW}"""
    seen = bottle.python(source)
    asked = seen.pop("asked")
    assert not [host for host in FLOORS if f'"{host}"' in asked]
    for name, said in seen.items():
        if name.startswith("mcp "):
            told = json.loads(said.partition("\r\n\r\n")[2])["result"]
            assert told["isError"] is True, name
            assert "cannot be asked for" in told["content"][0]["text"], name
        else:
            assert said.split()[1] in ("400", "413"), (name, said)
            assert json.loads(said.partition("\r\n\r\n")[2])["error"], name


@pytest.mark.threat(75, 123)
def test_case_75_nothing_that_is_said_inside_decides_anything(bottle: Bottle) -> None:
    source = f"""{NETWORK}{ASK}
session = begin()
before = raw(request("/policy", "bottle.internal"), OWN)
wanted = {{"kind": "egress", "rules": [{{"host": EVIL, "port": 80}}], "reason": "x"}}
grant = {{"op": "policy", "revision": 9, "rules": [{{"host": EVIL, "port": 80}}]}}
for method in ("POST", "PUT", "PATCH", "DELETE"):
    for path in ("/policy", "/approve", "/request/q-1", "/request/q-1/approve", "/mcp", "/keeper", "/grants", "/control"):
        attempt(method + path, lambda: say(method, path, grant))
        attempt(method + path + " operator", lambda: say(method, path, {{**wanted, "state": "applied", "via": "operator"}},
                                                         "X-Operator: yes", "Authorization: Bearer root"))
for method in ("approve", "policy", "notifications/approved", "tools/approve", "resources/write", "sampling/createMessage"):
    attempt(method, lambda: rpc(method, {{"id": "q-1", "state": "applied", **grant}}, session))
answer = {{"jsonrpc": "2.0", "id": "q-1", "result": {{"state": "applied"}}}}
attempt("answer", lambda: say("POST", "/mcp", answer, "Mcp-Session-Id: " + session))
for name in ("approve", "grant", "request", "policy"):
    arguments = {{"name": name, "arguments": wanted}}
    attempt("tool " + name, lambda: rpc("tools/call", arguments, session))
after = raw(request("/policy", "bottle.internal"), OWN)
seen = {{"same": str(json.loads(before.partition(chr(10) + chr(13) + chr(10))[2])["granted"]
                    == json.loads(after.partition(chr(10) + chr(13) + chr(10))[2])["granted"]),
        "evil": raw(request("http://" + EVIL + "/", EVIL)), "name": lookup(EVIL)}}
{SHOW}"""
    seen = bottle.python(source)
    assert seen["same"] == "True"
    assert "host_not_granted" in seen["evil"]
    assert seen["name"] == "no such name"
    assert EVIL not in str(bottle.world.servers.arrived())
