"""Attack cases on processes and the kernel (threats.md §2, 12–23), run inside real bottles."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from tests import in_bottle
from tests.backend.keeping import keep
from tests.ordinary_user import Person

X86 = platform.machine() == "x86_64"

# Numbers by name for the probes: (x86_64, aarch64).
CALLS = {
    "io_uring_setup": (425, 425), "io_uring_enter": (426, 426), "io_uring_register": (427, 427),
    "add_key": (248, 217), "request_key": (249, 218), "keyctl": (250, 219),
    "bpf": (321, 280), "perf_event_open": (298, 241), "userfaultfd": (323, 282),
    "kexec_load": (246, 104), "kexec_file_load": (320, 294), "init_module": (175, 105),
    "finit_module": (313, 273), "delete_module": (176, 106), "open_by_handle_at": (304, 265),
    "name_to_handle_at": (303, 264), "reboot": (169, 142), "swapon": (167, 224), "swapoff": (168, 225),
    "acct": (163, 89), "settimeofday": (164, 170), "sethostname": (170, 161), "quotactl": (179, 60),
    "setns": (308, 268), "unshare": (272, 97), "syslog": (103, 116), "pidfd_getfd": (438, 438), "kcmp": (312, 272),
}  # fmt: skip
NUMBERS = {name: numbers[0 if X86 else 1] for name, numbers in CALLS.items()}

PRELUDE = f"""
import ctypes, errno, json, os, socket
libc = ctypes.CDLL(None, use_errno=True)
NUMBERS = {NUMBERS!r}
def call(number, *args):
    ctypes.set_errno(0)
    r = libc.syscall(ctypes.c_long(number), *(ctypes.c_long(a) if isinstance(a, int) else a for a in args))
    return "ok" if r >= 0 else errno.errorcode[ctypes.get_errno()]
def attempt(work):
    try:
        work()
        return "ok"
    except OSError as e:
        return errno.errorcode[e.errno]
"""


def compiled(source: str, place: Path, *flags: str) -> str:
    """A statically linked program, made on the host."""
    program = place / "probe"
    done = subprocess.run(
        ["gcc", "-O1", "-static", "-o", str(program), "-x", "c", "-", *flags],
        input=source, text=True, capture_output=True, check=False,
    )  # fmt: skip
    if done.returncode != 0:
        pytest.skip(f"cannot run here: no C compiler for this program ({done.stderr[:200]})")
    program.chmod(0o755)
    return str(program)


@pytest.mark.parametrize("bwrap", ["system", "wheel"])
def test_case_12_only_the_three_standard_descriptors_are_there(person: Person, bwrap: str) -> None:
    source = "import json, os; print(json.dumps({fd: os.readlink(f'/proc/self/fd/{fd}') for fd in '0123456789' "
    source += "if os.path.lexists(f'/proc/self/fd/{fd}')}))"
    keeper = """
import os, sys
for _ in range(40):
    os.set_inheritable(os.open("/", os.O_RDONLY), True)
from tests import in_bottle
in_bottle.main()
"""
    found = in_bottle.probe(replace(person, keeper=keeper), source, bwrap=bwrap)
    assert set(found) == {"0", "1", "2"}, found


def test_case_14_user_namespaces_are_off_even_without_the_filter(person: Person) -> None:
    keeper = """
import struct
from claude_bottle.backend.bubblewrap import seccomp
seccomp.filter_program = lambda **_: struct.pack("<HBBI", 6, 0, 0, 0x7FFF0000)
from tests import in_bottle
in_bottle.main()
"""
    source = PRELUDE + 'print(json.dumps(call(NUMBERS["unshare"], 0x10000000)))'
    assert in_bottle.probe(replace(person, keeper=keeper), source) == "ENOSPC"


@pytest.mark.parametrize("bwrap", ["system", "wheel"])
def test_case_15_the_first_process_can_be_neither_traced_nor_read_nor_killed(person: Person, bwrap: str) -> None:
    source = (
        PRELUDE
        + """
import signal
libc.ptrace.restype = ctypes.c_long
def ptrace(request):
    ctypes.set_errno(0)
    return "ok" if libc.ptrace(request, 1, None, None) >= 0 else errno.errorcode[ctypes.get_errno()]
vm_readv = 310 if os.uname().machine == "x86_64" else 270
buffer = ctypes.create_string_buffer(16)
local = (ctypes.c_uint64 * 2)(ctypes.addressof(buffer), 16)
remote = (ctypes.c_uint64 * 2)(0x400000, 16)
pidfd = os.pidfd_open(1)
found = {"attach": ptrace(16), "seize": ptrace(0x4206), "vm": call(vm_readv, 1, local, 1, remote, 1, 0),
         "getfd": call(NUMBERS["pidfd_getfd"], pidfd, 0, 0), "setns": call(NUMBERS["setns"], pidfd, 0x20000)}
for name in ("mem", "environ", "fd", "ns/mnt", "exe", "root", "cwd", "maps", "auxv", "syscall", "stack"):
    found[name] = attempt(lambda: os.listdir("/proc/1/fd") if name == "fd" else open(f"/proc/1/{name}", "rb").read(1))
for sig in signal.valid_signals():
    attempt(lambda: os.kill(1, sig))
attempt(lambda: signal.pidfd_send_signal(pidfd, signal.SIGKILL))
attempt(lambda: os.kill(-1, 0))
found["alive"] = open("/proc/1/comm").read()
print(json.dumps(found))
"""
    )
    found = in_bottle.probe(person, source, bwrap=bwrap)
    assert found.pop("alive") == "cat\n"
    assert set(found.values()) <= {"EPERM", "EACCES"}, found


def test_case_15_what_is_on_its_way_in_can_be_neither_traced_nor_read(person: Person) -> None:
    """Until it executes, whatever enters is a copy of the keeper. Here it is held just before."""
    inside = (
        PRELUDE
        + """
import time
libc.ptrace.restype = ctypes.c_long
victim = None
while victim is None:
    others = [p for p in os.listdir("/proc") if p.isdigit() and int(p) not in (1, os.getpid())]
    victim = int(others[0]) if others else None
found = {"attach": "ok" if libc.ptrace(16, victim, None, None) >= 0 else errno.errorcode[ctypes.get_errno()]}
for name in ("mem", "environ", "maps", "ns/mnt", "exe", "root/", "cwd/", "fd/"):
    found[name] = attempt(lambda: os.listdir(f"/proc/{victim}/{name}") if name[-1] == "/"
                          else open(f"/proc/{victim}/{name}", "rb").read(1))
print(json.dumps(found), flush=True)
"""
    )
    source = f"""
import threading
from claude_bottle.backend.bubblewrap import enter
execute = enter._execute
def held(command, program):
    if "held" in command.argv:
        os.setsid()
        time.sleep(1000)
    execute(command, program)
enter._execute = held
with launch() as bottle:
    holder = threading.Thread(target=lambda: start_held(bottle))
    def start_held(bottle):
        try:
            start(bottle, "held")
        except BottleError:
            pass
    holder.start()
    code, text = output(bottle, "/usr/bin/python3", "-I", "-c", {inside!r})
    os.kill(bottle._sandbox.first, signal.SIGKILL)
    holder.join()
    print(text)
"""
    found = keep(person, source)
    assert set(found.values()) <= {"EPERM", "EACCES"}, found


def test_every_namespace_is_the_bottles_own(person: Person) -> None:
    source = "import json, os; print(json.dumps({n: os.readlink('/proc/self/ns/' + n) for n in os.listdir('/proc/self/ns')}))"
    found = in_bottle.probe(person, source)
    kinds = ("user", "pid", "net", "mnt", "ipc", "uts", "cgroup")
    assert [kind for kind in kinds if found[kind] == os.readlink(f"/proc/self/ns/{kind}")] == []


def test_case_20_root_of_the_host_is_never_the_bottles_user(person: Person) -> None:
    """Seen from the host: the uid of every process of the bottle."""
    request = """
import json, os, sys
from tests import in_bottle
place, = sys.argv[1:]
if os.geteuid() == 0:
    os.setgroups([4, 24, 27])
gate = in_bottle.Gate()
out = os.pipe()
with in_bottle.launch_request({"home": place + "/h", "workspace": place + "/w"}, gate) as bottle:
    process = bottle.spawn(["sleep", "100"], env=in_bottle.ENV, stdio=(0, out[1], 2))
    sandbox = bottle._sandbox
    found = {}
    for pid in (process.pid, sandbox.first, sandbox.holder):
        lines = dict(line.split(":", 1) for line in open(f"/proc/{pid}/status").read().splitlines())
        found[pid] = [lines["Uid"].split(), lines["Gid"].split(), lines["Groups"].split()]
print(json.dumps(list(found.values())))
"""
    place = person.directory("place")
    for name in ("h", "w"):
        (place / name).mkdir()
        os.chown(place / name, person.uid, -1)
    done = person.run([person.python, "-c", request, str(place)])
    assert done.returncode == 0, done.stderr
    for uids, gids, groups in json.loads(done.stdout):
        assert "0" not in uids + gids + groups
        if person.uid == 0:
            assert {int(one) >> 28 for one in uids + gids} == {7}
            assert groups == []
        else:
            assert set(uids) == {str(person.uid)}


@pytest.mark.skipif(not X86, reason="cannot run here: i386 and x32 exist on x86 only")
@pytest.mark.parametrize("bwrap", ["system", "wheel"])
def test_case_22_foreign_system_call_tables_are_closed(person: Person, tmp_path: Path, bwrap: str) -> None:
    int80 = 'int main(void){long r; __asm__ volatile("int $0x80":"=a"(r):"a"(20L):"memory"); return r>0?42:43;}'
    x32 = (
        'int main(void){long r; __asm__ volatile("syscall":"=a"(r):"a"(0x40000027L):"rcx","r11","memory"); return r>0?42:43;}'
    )
    for source in (int80, x32):
        place = person.directory("bin")
        program = compiled(source, place)
        answer = in_bottle.run(person, ["/probe22"], mounts=[[program, "/probe22", "ro"]], bwrap=bwrap)
        assert answer["code"] == 128 + 31, answer  # SIGSYS


def test_personality_is_restricted_as_in_dockers_profile(person: Person) -> None:
    number = 135 if X86 else 92
    tried = {0: "ok", 0xFFFFFFFF: "ok", 0x20000: "ok", 0x40000: "EPERM", 0x100000: "EPERM"}
    found = in_bottle.probe(person, PRELUDE + f"print(json.dumps([call({number}, p) for p in {list(tried)!r}]))")
    assert found == list(tried.values())


def test_a_core_dump_is_handed_to_no_program_of_the_host(person: Person) -> None:
    source = "import json, resource; print(json.dumps(resource.getrlimit(resource.RLIMIT_CORE)))"
    assert in_bottle.probe(person, source) == [1, 1]


def test_kernel_state_beyond_a_tools_need_reads_empty(person: Person) -> None:
    source = """
import json, os
names = ["cmdline", "keys", "key-users", "kallsyms", "timer_list", "kmsg", "kcore", "sched_debug", "vmallocinfo"]
def size(name):
    try:
        return len(open("/proc/" + name, "rb").read(64))
    except PermissionError:
        return 0
found = {n: size(n) for n in names if os.path.exists("/proc/" + n)}
found |= {n: len(os.listdir("/proc/" + n)) for n in ("acpi", "bus", "fs", "irq", "scsi") if os.path.exists("/proc/" + n)}
print(json.dumps(found))
"""
    found = in_bottle.probe(person, source)
    assert found
    assert set(found.values()) == {0}, found
