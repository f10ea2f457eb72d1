"""Attack cases on processes and the kernel (threats.md §2, 9, 12–23): nothing outside is there to be reached."""

from __future__ import annotations

import base64
import json
import os
import socket
import subprocess
from pathlib import Path

import pexpect
import pytest

from tests.attack.namespaces import ABSTRACT
from tests.attack.operators import HIDDEN_PROC, OWN_USERS, Bottle, Operator
from tests.attack.probes import KERNEL, X86
from tests.waiting import SECONDS, eventually, hang_up


@pytest.mark.threat(9)
def test_case_9_proc_shows_only_the_bottles_own_processes(bottle: Bottle) -> None:
    source = """
import json, os
def link(pid, name):
    try:
        return os.readlink(f"/proc/{pid}/{name}")
    except OSError as problem:
        return problem.errno
def about(pid):
    try:
        if open(f"/proc/{pid}/stat").read().rpartition(")")[2].split()[0] == "Z":
            return None  # it has ended, as one has that is not there any more
        return {"line": open(f"/proc/{pid}/cmdline").read().split("\\0")[0], "uid": os.stat(f"/proc/{pid}").st_uid,
                **{name: link(pid, name) for name in ("root", "cwd", "ns/net", "ns/user", "ns/pid")}}
    except (FileNotFoundError, ProcessLookupError):
        return None
print(json.dumps({pid: said for pid in os.listdir("/proc") if pid.isdigit() and (said := about(pid))}))
"""
    found = bottle.python(source)
    first = found.pop("1")
    assert {first[name] for name in ("root", "cwd", "ns/net")} == {13}
    assert {one["uid"] for one in found.values()} == {bottle.operator.uid_inside}
    assert {one["line"].rpartition("/")[2] for one in found.values()} == {"sleep", "python3"}
    assert {one["root"] for one in found.values()} <= {"/", 13}
    assert {one["cwd"] for one in found.values()} <= {"/workspace", 13}
    shared = {"ns/user"} if bottle.operator.lacks(OWN_USERS) else set()
    for name in {"ns/net", "ns/user", "ns/pid"} - shared:
        seen = {one[name] for one in found.values()} - {13}
        assert len(seen) == 1
        assert os.readlink(f"/proc/self/{name}") not in seen


@pytest.mark.threat(12)
def test_case_12_only_the_three_standard_descriptors_are_there(bottle: Bottle) -> None:
    """The commands that started the bottle and this program held a directory descriptor on the host's root."""
    source = """
import json, os
def links(pid):
    try:
        return {fd: os.readlink(f"/proc/{pid}/fd/{fd}").split(":")[0] for fd in os.listdir(f"/proc/{pid}/fd")
                if os.path.lexists(f"/proc/{pid}/fd/{fd}")}
    except OSError as problem:
        return problem.errno
print(json.dumps({pid: links(pid) for pid in ["self", *filter(str.isdigit, os.listdir("/proc"))]}))
"""
    answer = bottle.exec("/usr/bin/python3", "-I", "-c", source)
    found = json.loads(answer.stdout)
    assert found["self"] == {"0": "pipe", "1": "pipe", "2": "pipe"}
    everything = {target for links in found.values() if isinstance(links, dict) for target in links.values()}
    assert {target for target in everything if target != "pipe" and not target.startswith(("/dev/pts/", "/proc/"))} == set()


@pytest.mark.threat(13)
def test_case_13_input_cannot_be_pushed_into_the_operators_terminal(bottle: Bottle) -> None:
    source = (
        KERNEL
        + """
import fcntl, pty, termios
number = 16 if X86 else 29
def push(fd, request):
    return call(number, fd, request, b"x")
tty, (master, slave) = os.open("/dev/tty", os.O_RDWR), pty.openpty()
found = {f"{name} {fd}": push(fd, value) for fd in (0, tty, slave) for name, value in {"sti": 0x5412,
    "sti, high bit": 0x5412 | 1 << 32,
         "linux": 0x541c, "linux, high bit": 0x541c | 1 << 40}.items()}
print("ANSWER", json.dumps([os.isatty(0), os.tcgetpgrp(0) == os.getsid(0) == os.getpid(), sorted(set(found.values()))]))
"""
    )
    argv = bottle.operator.argv("exec", bottle.identity, "--", "/usr/bin/python3", "-I", "-c", source)
    child = pexpect.spawn(argv[0], argv[1:], env=bottle.operator.env, encoding="utf-8", dimensions=(24, 200), timeout=SECONDS)
    child.expect(r"ANSWER (\[.*\])\r\n")
    found = json.loads(child.match[1])
    child.expect(pexpect.EOF)
    hang_up(child)
    assert found == [True, True, ["EPERM"]]


@pytest.mark.threat(14)
def test_case_14_no_namespace_can_be_made_or_entered(bottle: Bottle) -> None:
    source = (
        KERNEL
        + """
me, clone = os.getpid(), 56 if X86 else 220
def cloned(number, *args):
    said = call(number, *args)
    if os.getpid() != me:
        os._exit(0)  # it worked, and this is the child
    return said
flags = [0x20000, 0x2000000, 0x4000000, 0x8000000, 0x10000000, 0x20000000, 0x40000000, 0x80]
found = {hex(f): call(NUMBERS["unshare"], f) for f in flags} | {"clone " + hex(f): cloned(clone, f | 17, 0, 0, 0,
    0) for f in flags[:-1]}
args = (ctypes.c_uint64 * 11)(0x10000000)
found["clone3"] = cloned(435, args, 88)
for name in os.listdir("/proc/self/ns"):
    found["setns " + name] = call(NUMBERS["setns"], os.open("/proc/self/ns/" + name, os.O_RDONLY), 0)
print(json.dumps(found))
"""
    )
    found = bottle.python(source)
    assert found.pop("clone3") in ("ENOSYS", "EPERM")
    assert set(found.values()) == {"EPERM"}, found


@pytest.mark.threat(15)
def test_case_15_the_first_process_can_be_neither_traced_nor_read_nor_killed(bottle: Bottle) -> None:
    source = (
        KERNEL
        + """
import signal
libc.ptrace.restype = ctypes.c_long
def ptrace(request):
    ctypes.set_errno(0)
    return "ok" if libc.ptrace(request, 1, None, None) >= 0 else errno.errorcode[ctypes.get_errno()]
vm_readv, vm_writev = (310, 311) if X86 else (270, 271)
buffer = ctypes.create_string_buffer(16)
local, remote = (ctypes.c_uint64 * 2)(ctypes.addressof(buffer), 16), (ctypes.c_uint64 * 2)(0x400000, 16)
pidfd = os.pidfd_open(1)
before = open("/proc/1/comm").read()
found = {"attach": ptrace(16), "seize": ptrace(0x4206), "read": call(vm_readv, 1, local, 1, remote, 1, 0),
         "write": call(vm_writev, 1, local, 1, remote, 1, 0), "getfd": call(NUMBERS["pidfd_getfd"], pidfd, 0, 0),
         "setns": call(NUMBERS["setns"], pidfd, 0x20000), "madvise": call(440, pidfd, local, 1, 21, 0)}
for name in ("mem", "environ", "fd", "ns/mnt", "exe", "root", "cwd", "maps", "auxv", "syscall", "stack", "io", "map_files"):
    found[name] = attempt(lambda: os.listdir(f"/proc/1/{name}") if name in ("fd",
        "map_files") else open(f"/proc/1/{name}", "rb").read(1))
for name in ("oom_score_adj", "comm", "clear_refs", "coredump_filter", "uid_map", "attr/current", "timerslack_ns"):
    found["write " + name] = attempt(lambda: os.write(os.open(f"/proc/1/{name}", os.O_WRONLY), b"9"))
for sig in signal.valid_signals():
    attempt(lambda: os.kill(1, sig))
attempt(lambda: signal.pidfd_send_signal(pidfd, signal.SIGKILL))
print(json.dumps([found, before == open("/proc/1/comm").read()]))
"""
    )
    found, alive = bottle.python(source)
    assert alive
    assert {name: said for name, said in found.items() if said not in {"EPERM", "EACCES", "EINVAL", "ENOENT"}} == {}
    assert {name for name, said in found.items() if said == "ENOENT"} <= {"write attr/current", "stack"}
    assert {name for name, said in found.items() if said == "EINVAL"} <= {"write attr/current", "write comm"}


@pytest.mark.threat(16, 17, 18, 21)
def test_case_16_17_18_21_forbidden_calls_say_eperm(bottle: Bottle) -> None:
    """io_uring, keyrings, bpf, perf, userfaultfd, modules, kexec, handles, mounts: refused before they look at anything."""
    found = bottle.python(KERNEL + "print(json.dumps({n: call(i, 0, 0, 0, 0, 0) for n, i in NUMBERS.items()}))")
    assert set(found.values()) == {"EPERM"}, found


@pytest.mark.threat(16, 17)
def test_case_17_no_socket_but_unix_tcp_udp_and_route(bottle: Bottle) -> None:
    source = (
        KERNEL
        + """
def sock(*args):
    return attempt(lambda: socket.socket(*args).close())
number = 41 if X86 else 198
found = {f"family {f}": sock(f, k, 0) for f in range(3, 46) if f not in (10, 16) for k in (1, 2, 3, 5)}
found |= {f"netlink {p}": sock(16, 3, p) for p in range(1, 23)}
found |= {f"type {k}": sock(f, k, 0) for f in (2, 10) for k in (3, 4, 5, 6, 10)}
found |= {f"protocol {p}": sock(f, k, p) for f in (2, 10) for k in (1, 2) for p in (1, 2, 33, 58, 132, 136, 255, 262)}
found |= {"vsock with a high bit": call(number, 40 | 1 << 32, 1, 0), "raw with a high bit": call(number, 2, 3 | 1 << 33, 1)}
found |= {"pair": attempt(lambda: socket.socketpair(2, 1, 0)), "packet": call(number, 17, 3, 768)}
good = {"unix": sock(1, 1, 0), "tcp": sock(2, 1, 0), "tcp6": sock(10, 1, 6), "udp": sock(2, 2, 17), "route": sock(16, 3, 0)}
print(json.dumps([found, good]))
"""
    )
    refused, good = bottle.python(source)
    assert set(refused.values()) == {"EPERM"}, refused
    assert set(good.values()) == {"ok"}, good


@pytest.mark.threat(18)
def test_case_18_no_key_of_the_operators_session_is_in_sight(bottle: Bottle) -> None:
    source = KERNEL + """
def size(name):
    try:
        return len(open(name, "rb").read())
    except OSError:
        return 0
number = NUMBERS["keyctl"]
print(json.dumps([[size("/proc/keys"), size("/proc/key-users")], [call(number, 0, ring, 1) for ring in range(-8, 0)],
                  call(NUMBERS["add_key"], b"user", b"n", b"x", 1, -3), call(NUMBERS["request_key"], b"user", b"n",
                      b"", -3)]))
"""
    (keys, counts), rings, add, request = bottle.python(source)
    assert (keys, rings, add, request) == (0, ["EPERM"] * 8, "EPERM", "EPERM")
    assert counts == 0 or bottle.operator.lacks(HIDDEN_PROC)


@pytest.mark.threat(19)
def test_case_19_an_abstract_socket_of_the_host_is_not_visible(bottle: Bottle) -> None:
    """Neither of the host the product runs on here, nor of the one the tests run on; datagram sockets alike."""
    name = b"\0claude-bottle-test-%d" % os.getpid()
    with socket.socket(socket.AF_UNIX) as server, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as datagrams:
        server.bind(name)
        server.listen()
        datagrams.bind(name + b"-d")
        source = KERNEL + f"""
found = [attempt(lambda: socket.socket(1, kind).connect(name)) for name in {[ABSTRACT, name,
    name + b"-d"]!r} for kind in (1, 2, 5)]
print(json.dumps([found, [line for line in open("/proc/net/unix").read().splitlines() if "@" in line]]))
"""
        assert bottle.python(source) == [["ECONNREFUSED"] * 9, []]


@pytest.mark.threat(20)
def test_case_20_no_privilege_in_any_set_and_none_to_gain(bottle: Bottle) -> None:
    source = """
import json, os, subprocess
def facts(text):
    return {k: v.strip() for k, _, v in (line.partition(":") for line in text.splitlines())}
wanted = "CapInh CapPrm CapEff CapBnd CapAmb NoNewPrivs Seccomp Uid Gid".split()
def status(pid):
    try:
        return facts(open(f"/proc/{pid}/status").read())
    except (FileNotFoundError, ProcessLookupError):
        return None  # it has ended meanwhile
every = {pid: said for pid in os.listdir("/proc") if pid.isdigit() and (said := status(pid))}
setuid = [p for d in ("/usr/bin", "/usr/sbin", "/usr/lib/openssh") if os.path.isdir(d) for p in (e.path
    for e in os.scandir(d))
          if os.path.isfile(p) and os.stat(p).st_mode & 0o6000]
run = lambda *argv: subprocess.run(argv, capture_output=True, text=True, stdin=subprocess.DEVNULL)
after = {p: run(p, "--help").returncode for p in setuid if os.path.basename(p) in ("su", "mount", "passwd", "sudo", "newgrp")}
became = run("/usr/bin/su", "-c", "id -u", "root").stdout if "/usr/bin/su" in setuid else ""
print(json.dumps([{pid: {n: f[n] for n in wanted} for pid, f in every.items()}, os.getgroups(), became]))
"""
    every, groups, became = bottle.python(source)
    for status in every.values():
        assert {int(status[name], 16) for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")} == {0}, every
        assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")
        assert status["Uid"].split() == status["Gid"].split() == [str(bottle.operator.uid_inside)] * 4
    assert groups in ([], [bottle.operator.uid_inside])
    assert became == ""


INT80 = 'int main(void){long r; __asm__ volatile("int $0x80":"=a"(r):"a"(20L):"memory"); return r>0?42:43;}'
X32 = 'int main(void){long r; __asm__ volatile("syscall":"=a"(r):"a"(0x40000027L):"rcx","r11","memory"); return r>0?42:43;}'


@pytest.mark.threat(22)
@pytest.mark.skipif(not X86, reason="cannot run here: i386 and x32 exist on x86 only")
@pytest.mark.parametrize("table", [INT80, X32], ids=["i386", "x32"])
def test_case_22_foreign_system_call_tables_are_closed(bottle: Bottle, table: str, tmp_path: Path) -> None:
    program = tmp_path / "probe"
    command = ["gcc", "-O1", "-static", "-o", str(program), "-x", "c", "-"]
    made = subprocess.run(command, input=table, text=True, capture_output=True, check=False)
    if made.returncode != 0:
        pytest.skip(f"cannot run here: no C compiler for this program ({made.stderr[:200]})")
    text = base64.b64encode(program.read_bytes()).decode()
    bring = "base64 -d > /workspace/probe22 && chmod 755 /workspace/probe22 && exec /workspace/probe22"
    assert bottle.exec("/bin/sh", "-c", bring, input=text).returncode == 128 + 31  # SIGSYS


@pytest.mark.threat(23)
def test_case_23_whatever_forks_ignores_and_reparents_is_gone_when_the_bottle_is(operator: Operator) -> None:
    marker = f"left-behind-{os.getpid()}-{operator.person.name}"
    source = f"""
import json, os, signal
quiet = os.open("/dev/null", os.O_RDWR)
for _ in range(20):
    if os.fork() == 0:
        os.setsid()
        for fd in (0, 1, 2):
            os.dup2(quiet, fd)
        if os.fork() == 0:
            for s in signal.valid_signals() - {{9, 19}}:
                try: signal.signal(s, signal.SIG_IGN)
                except (OSError, ValueError): pass
            if os.fork() == 0:
                os.kill(os.getpid(), signal.SIGSTOP)
            os.execv("/bin/sleep", ["{marker}", "1000"])
        os._exit(0)
print(json.dumps(1))
"""
    with operator.start() as mine:
        mine.python(source)
        eventually(lambda: count(marker) >= 20)
    assert count(marker) == 0


def count(marker: str) -> int:
    """Living processes of this machine with `marker` as their first word."""
    found = 0
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                found += (entry / "cmdline").read_bytes().startswith(marker.encode())
            except OSError:
                continue
    return found
