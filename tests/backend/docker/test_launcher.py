"""What a container bottle is made of, as the kernel and the engine tell it, and what stops a launch."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import threading
from pathlib import Path
from typing import Any

import pytest

from claude_bottle.backend import namespaces
from claude_bottle.backend.docker import argv, backend, begun, launcher
from claude_bottle.backend.docker.bottle import DockerBottle
from claude_bottle.backend.docker.rundir import RunDir
from claude_bottle.errors import BottleError, EnvironmentLacks
from claude_bottle.model.plan import Workspace
from tests.backend.docker.bottles import Place, launched, output, start
from tests.in_bottle import Gate

CAPABILITY_SETS = ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")


def probe(bottle: DockerBottle, source: str) -> Any:
    code, text = output(bottle, "python3", "-I", "-c", source)
    assert code == 0, text
    return json.loads(text)


def test_nobody_in_it_has_a_capability_or_can_gain_one(bottle: DockerBottle) -> None:
    process = start(bottle, "sleep", "1000")
    for pid in (bottle._sandbox.first, process.pid):
        found = launcher.facts(pid)
        assert [int(found[name], 16) for name in CAPABILITY_SETS] == [0] * 5
        assert (found["NoNewPrivs"], found["Seccomp"], found["Uid"].split()) == ("1", "2", ["1000"] * 4)
        assert found["Groups"] == ""
    process.kill(9)
    process.wait()
    inside = probe(bottle, "import json; print(json.dumps(open('/proc/self/status').read()))")
    assert all(f"{name}:\t0000000000000000" in inside for name in CAPABILITY_SETS)


def test_the_only_interface_is_loopback_and_nothing_is_reached_through_it(bottle: DockerBottle) -> None:
    source = """
import json, os, socket
def dial(address):
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family) as s:
        s.settimeout(3)
        try: s.connect((address, 80)); return "connected"
        except OSError as e: return e.strerror
def resolve():
    try: return socket.getaddrinfo("example.com", 80)
    except OSError: return "no"
addresses = ["1.1.1.1", "10.0.0.1", "172.17.0.1", "169.254.169.254", "2606:4700::1111"]
print(json.dumps([os.listdir("/sys/class/net"), [dial(a) for a in addresses], resolve()]))
"""
    interfaces, answers, names = probe(bottle, source)
    ups = {"lo"}
    assert ups <= set(interfaces) and not {name for name in interfaces if name.startswith("eth")}
    assert set(answers) <= {"Network is unreachable", "Cannot assign requested address"}
    assert names == "no"


def test_the_root_is_read_only_and_only_its_own_places_are_not(bottle: DockerBottle) -> None:
    script = """
for p in / /etc /usr/bin /opt/claude-bottle /run /run/bottle /etc/ssl/certs /home /image-volume; do
  (: > $p/x) 2>/dev/null && echo $p
done
for p in ~ /workspace /tmp /var/tmp /dev/shm; do : > $p/x || echo no $p; done
"""
    assert output(bottle, "sh", "-c", script) == (0, "")


def test_mounts_that_can_be_written_have_neither_devices_nor_set_id(bottle: DockerBottle) -> None:
    lines = output(bottle, "cat", "/proc/self/mounts")[1].splitlines()
    options = {line.split()[1]: set(line.split()[3].split(",")) for line in lines}
    for target in ("/tmp", "/var/tmp", "/run", "/dev/shm", "/etc/ssl/certs"):
        assert {"nosuid", "nodev"} <= options[target], target
    assert {"ro"} <= options["/"] & options["/run/bottle"] & options["/etc/hosts"] & options["/etc/resolv.conf"]


def test_nothing_of_the_host_or_the_engine_is_inside(bottle: DockerBottle, shared: Place) -> None:
    source = """
import glob, json, os
said = open("/etc/resolv.conf").read() + open("/etc/hosts").read() + open("/etc/hostname").read()
places = ("/var/run/docker.sock", "/run/docker.sock", "/run/bottle/init.sock", "/run/bottle/nonce")
print(json.dumps([said, [p for p in places if os.path.exists(p)], len(glob.glob("/proc/[0-9]*"))]))
"""
    said, sockets, processes = probe(bottle, source)
    assert socket.gethostname() not in said.replace("bottle", "")
    assert (sockets, processes) == ([], 2)
    assert said.splitlines()[0] == "nameserver 127.0.0.1" and "search" not in said


REFUSED = """
import ctypes, json, os, platform, socket
libc = ctypes.CDLL(None, use_errno=True)
numbers = {"x86_64": dict(keyctl=250, bpf=321, userfaultfd=323, mount=165, unshare=272, setns=308, open_by_handle_at=304,
                          perf_event_open=298, add_key=248, kexec_load=246, init_module=175, ptrace=101, personality=135),
           "aarch64": dict(keyctl=219, bpf=280, userfaultfd=282, mount=40, unshare=97, setns=268, open_by_handle_at=265,
                           perf_event_open=241, add_key=217, kexec_load=104, init_module=105, ptrace=117, personality=92)}
found = {}
def call(name, number, *arguments):
    ctypes.set_errno(0)
    result = libc.syscall(number, *arguments)
    found[name] = ctypes.get_errno() if result < 0 else 0
mine = numbers[platform.machine()]
for name in ("keyctl", "bpf", "userfaultfd", "mount", "setns", "open_by_handle_at", "perf_event_open", "add_key",
             "kexec_load", "init_module"):
    call(name, mine[name], 0, 0, 0, 0, 0)
call("unshare user", mine["unshare"], 0x10000000)
call("personality", mine["personality"], 0x0400000)
call("io_uring_setup", 425, 1, 0)
call("clone3", 435, 0, 0)
call("openat2", 437, -1, 0, 0, 0)
call("new call", 500)
def make(*arguments):
    try: socket.socket(*arguments).close(); return 0
    except OSError as e: return e.errno
import fcntl, termios
def steal():
    try: fcntl.ioctl(0, 0x5412, b"x"); return 0
    except OSError as e: return e.errno
found["TIOCSTI"] = steal()
found |= {"vsock": make(40, 1), "packet": make(17, 3), "alg": make(38, 5), "raw": make(2, 3, 1), "netlink 9": make(16, 3, 9),
          "icmp": make(2, 2, 1)}
found |= {"tcp": make(2, 1), "udp": make(2, 2), "unix": make(1, 1), "route": make(16, 3, 0)}
def mode(bits):
    try: os.chmod("/tmp", bits); return 0
    except OSError as e: return e.errno
open("/tmp/f", "w").close()
def change(bits):
    try: os.chmod("/tmp/f", bits); return 0
    except OSError as e: return e.errno
def node(kind):
    try: os.mknod("/tmp/n%o" % kind, kind, 0); return 0
    except OSError as e: return e.errno
found |= {"setuid": change(0o4755), "setgid": change(0o2755), "plain": change(0o755), "fifo": node(0o010600),
          "char": node(0o020600), "block": node(0o060600)}
print(json.dumps(found))
"""


def test_the_system_calls_are_judged_as_the_policy_says(bottle: DockerBottle) -> None:
    found = probe(bottle, REFUSED)
    allowed = {name for name, number in found.items() if number == 0}
    assert allowed == {"tcp", "udp", "unix", "route", "plain", "fifo"}
    not_built_in = {name for name, number in found.items() if number == 38}
    assert not_built_in == {"clone3", "openat2", "new call"}
    assert {number for name, number in found.items() if name not in allowed | not_built_in} == {1}


def test_foreign_system_calls_end_the_program(bottle: DockerBottle) -> None:
    x32 = "import ctypes; ctypes.CDLL(None).syscall(0x40000000 + 39)"
    if os.uname().machine == "x86_64":
        assert start(bottle, "python3", "-c", x32).wait() == 128 + 31


def test_what_the_engine_tells_of_it_passes_the_bench(bottle: DockerBottle, shared: Place) -> None:
    """CIS Docker Benchmark (docker-bench-security) §5, each item that applies to one container, by its number."""
    found = shared.inspect("container", bottle.name)
    host, config = found["HostConfig"], found["Config"]
    targets = {mount["Destination"] for mount in found["Mounts"]}
    sources = {mount.get("Source", "") for mount in found["Mounts"]}
    assert host["CapDrop"] == ["ALL"]  # 5.3
    assert sorted(name.removeprefix("CAP_") for name in host["CapAdd"]) == sorted(argv.FIRST_MOMENT)
    assert host["Privileged"] is False  # 5.4
    assert not sources & {"/", "/boot", "/dev", "/etc", "/lib", "/proc", "/sys", "/usr"}  # 5.5
    assert not host["PortBindings"] and not host["PublishAllPorts"]  # 5.7, 5.8
    assert host["NetworkMode"] == "none"  # 5.9, 5.29
    assert host["Memory"] == 512 << 20 == host["MemorySwap"]  # 5.10
    assert host["CpuShares"] > 0 and host["NanoCpus"] > 0  # 5.11
    assert host["ReadonlyRootfs"] is True  # 5.12
    assert host["RestartPolicy"]["Name"] in ("", "no")  # 5.14: nothing starts it again unseen
    assert host["PidMode"] == "" and host["IpcMode"] == "private" and host["UTSMode"] == ""  # 5.15, 5.16, 5.20
    assert not host["Devices"]  # 5.17
    assert {limit["Name"]: limit["Hard"] for limit in host["Ulimits"]} == {"core": 1}  # 5.18
    assert all(mount.get("Propagation", "") in ("", "rprivate") for mount in found["Mounts"])  # 5.19
    options = sorted(host["SecurityOpt"])
    ours = json.loads(Path(argv.__file__).with_name("seccomp.json").read_text())
    assert options[0] == "no-new-privileges"  # 5.25
    assert json.loads(options[1].removeprefix("seccomp=")) == ours  # 5.21
    assert not host["CgroupParent"]  # 5.24
    assert "Healthcheck" not in config or config["Healthcheck"]["Test"] == ["NONE"]  # 5.26 is the keeper's own business
    assert host["PidsLimit"] == 200  # 5.28
    assert host["UsernsMode"] == ""  # 5.30
    assert not {source for source in sources if "docker.sock" in source}  # 5.31
    assert (host["CgroupnsMode"], host["AutoRemove"], config["User"]) == ("private", True, "0:0")
    assert targets == {"/run/bottle", "/home/agent", "/workspace", "/image-volume"}


def test_the_engine_holds_no_secret_of_it(shared: Place, bottle: DockerBottle) -> None:
    """Neither nonces nor what its programs are given stand in words, variables or labels (threat 56)."""
    output(bottle, "true", env={"PATH": "/usr/bin", "TOKEN": "canary-secret"})
    said = json.dumps([shared.inspect("container", bottle.name), shared.inspect("volume", f"{bottle.name}-home")])
    assert "canary-secret" not in said
    assert not re.search(r"\b00ff\b", said)  # which may well stand in the midst of an id
    clients = subprocess.run(["ps", "axeww"], capture_output=True, text=True, check=True).stdout
    assert "canary-secret" not in clients


def test_the_image_has_no_say(bottle: DockerBottle, shared: Place) -> None:
    """Its user, entry point, variables, volumes and health check are overridden or harmless (threat 79)."""
    environ = Path(f"/proc/{bottle._sandbox.first}/environ").read_text().split("\0")
    assert {"LD_PRELOAD=", "HTTP_PROXY="} <= set(environ)
    assert output(bottle, "env", env={"PATH": "/usr/bin"}) == (0, "PATH=/usr/bin\n")


def test_everything_of_it_carries_its_labels(bottle: DockerBottle, shared: Place) -> None:
    owner = (shared.root / "state" / "installation").read_text().strip()
    container = shared.inspect("container", bottle.name)["Config"]["Labels"]
    for labels in (container, shared.inspect("volume", f"{bottle.name}-home")["Labels"],
                   shared.inspect("volume", f"{bottle.name}-work")["Labels"]):  # fmt: skip
        assert labels["claude-bottle.identity"] == shared.identity
        assert labels["claude-bottle.installation"] == owner
        assert labels["claude-bottle.schema"] == "1"
        assert len(labels["claude-bottle.plan"]) == 64
        assert labels["claude-bottle.nonce"] == container["claude-bottle.nonce"]


def test_a_fork_bomb_meets_its_limit_and_the_bottle_still_ends(place: Place) -> None:
    with launched(place) as bottle:
        end, other = os.pipe()
        bomb = """
import os
try:
    while True:
        if os.fork() == 0:
            os.execvp("sleep", ["sleep", "1000"])
except OSError:
    print("full", flush=True)
    os.wait()
"""
        start(bottle, "python3", "-c", bomb, out=other)
        assert os.read(end, 10) == b"full\n"
        with pytest.raises(BottleError):
            start(bottle, "true")
        bottle.close()
    os.close(end)
    os.close(other)
    assert place.objects() == []


def test_a_program_that_takes_too_much_memory_is_killed_alone(place: Place) -> None:
    with launched(place) as bottle:
        hog = "x = []\nwhile True: x.append(bytearray(16 << 20))"
        assert start(bottle, "python3", "-c", hog).wait() == 137
        assert output(bottle, "echo", "alive") == (0, "alive\n")


def test_the_home_is_there_with_its_modes_times_and_links_and_is_the_agents(place: Place) -> None:
    (place.home / ".ssh").mkdir(mode=0o700)
    (place.home / ".ssh" / "key").write_text("secret")
    (place.home / ".ssh" / "key").chmod(0o600)
    (place.home / "tool").write_text("#!/bin/sh\necho ran\n")
    (place.home / "tool").chmod(0o755)
    os.utime(place.home / "tool", (1_000_000_000, 1_000_000_000))
    (place.home / "link").symlink_to("/etc/passwd")
    (place.workspace / "file").write_text("work")
    with launched(place) as bottle:
        script = "stat -c '%n %U %a' tool .ssh .ssh/key; ~/tool; readlink link; cat /workspace/file; stat -c %Y tool"
        code, said = output(bottle, "sh", "-c", script, cwd="/home/agent")
    assert code == 0
    assert said == ("tool agent 755\n.ssh agent 700\n.ssh/key agent 600\nran\n/etc/passwd\nwork1000000000\n")


def test_a_mount_is_shown_as_it_was_granted(place: Place) -> None:
    for name in ("read", 'odd,"name', "write"):
        (place.root / name).mkdir()
        (place.root / name / "file").write_text(name)
        (place.root / name).chmod(0o777)
    granted = [("read", "/opt/read", "ro"), ('odd,"name', "/opt/odd,name", "ro"), ("write", "/opt/write", "rw"),
               ("read/file", "/opt/one", "ro")]  # fmt: skip
    mounts = [(f"{place.root}/{source}", target, mode) for source, target, mode in granted]
    with launched(place, mounts=mounts) as bottle:
        script = "cat /opt/*/file /opt/one; for p in /opt/*/; do (: > $p/new) 2>/dev/null && echo $p; done"
        assert output(bottle, "sh", "-c", script) == (0, 'odd,"namereadwriteread/opt/write/\n')


def test_a_mount_through_a_link_is_refused(place: Place) -> None:
    (place.root / "real").mkdir()
    (place.root / "link").symlink_to("real")
    mounts = [(f"{place.root}/link", "/opt/x", "ro")]
    with pytest.raises(BottleError, match="cannot show"), launched(place, mounts=mounts):
        pass
    assert place.objects() == []


def test_a_mount_that_is_swapped_on_the_way_is_noticed(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    (place.root / "granted").mkdir()
    (place.root / "secret").mkdir()
    found = begun.identify

    def swap_after(mount: Any) -> list[int]:
        seen = found(mount)
        (place.root / "granted").rename(place.root / "gone")
        (place.root / "granted").symlink_to("secret")
        return seen

    monkeypatch.setattr(begun, "identify", swap_after)
    mounts = [(f"{place.root}/granted", "/opt/x", "ro")]
    with pytest.raises(EnvironmentLacks, match="does not lead"), launched(place, mounts=mounts):
        pass
    assert place.objects() == []


def test_a_layer_that_is_not_in_force_means_no_bottle(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the words ask for is not believed: each is taken away, and the launch says what is missing."""
    words = argv.run
    engines = "the engine did not load the system call filter"
    for away, names in (("--read-only", "read-only root"), ("--security-opt=seccomp=", engines), ("--network=", "network")):

        def without(container: argv.Container, away: str = away) -> list[str]:
            kept = [word for word in words(container) if not word.startswith(away)]
            if away == "--security-opt=seccomp=":
                kept.insert(1, "--security-opt=seccomp=unconfined")
            return kept

        monkeypatch.setattr(argv, "run", without)
        with pytest.raises(EnvironmentLacks) as lacks, launched(place):
            pass
        assert names in lacks.value.what + lacks.value.why
    assert place.objects() == []


def test_one_whose_first_process_does_not_protect_itself_is_no_bottle(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(argv, "INIT", argv.INIT.replace("init.main()", "init.protect = lambda: None; init.main()"))
    with pytest.raises(EnvironmentLacks) as lacks, launched(place):
        pass
    assert lacks.value.why == "first process: Seccomp_filters"
    assert place.objects() == []


@pytest.mark.parametrize("user", [(0, 1000), (1000, 0)], ids=["user", "group"])
def test_nobody_is_root_in_a_bottle(place: Place, user: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backend, "bottle_user", lambda plan: user)
    with pytest.raises(EnvironmentLacks) as lacks, launched(place):
        pass
    assert lacks.value.why == "a bottle has no root user"
    assert place.objects() == []


def test_a_first_process_that_ends_without_a_word_is_told_of(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(argv, "INIT", "pass")
    with pytest.raises(EnvironmentLacks) as lacks, launched(place):
        pass
    assert lacks.value.why == "its first process ended without a word"
    assert place.objects() == []


def test_a_workspace_of_the_operators_is_worked_on_directly(place: Place) -> None:
    os.chown(place.workspace, 1234, 1234)
    (place.workspace / "mine").write_text("here")
    os.chown(place.workspace / "mine", 1234, 1234)
    with launched(place, workspace=Workspace("bind", "/workspace", str(place.workspace))) as bottle:
        assert output(bottle, "sh", "-c", "cat mine; echo changed > mine; whoami; echo ~") == (0, "hereagent\n/home/agent\n")
        assert not [name for name in place.objects() if name.endswith("-work")]
    assert (place.workspace / "mine").read_text() == "changed\n"


def test_roots_own_workspace_is_the_bottle_users_inside_and_nowhere_else(place: Place) -> None:
    (place.workspace / "mine").write_text("here")
    with launched(place, workspace=Workspace("bind", "/workspace", str(place.workspace))) as bottle:
        assert output(bottle, "sh", "-c", "cat mine; echo changed > mine; id -u; stat -c %u mine") == (0, "here1000\n1000\n")
        (options,) = [line.split()[5] for line in Path(f"/proc/{bottle._sandbox.first}/mountinfo").read_text().splitlines()
                      if line.split()[4] == "/workspace" and " - tmpfs " not in line]  # fmt: skip
        assert {"nosuid", "nodev", "idmapped"} <= set(options.split(","))
        # Only what is ours: other tests mount and unmount beside this one.
        mounted = Path("/proc/self/mountinfo").read_text()
        assert not [line for line in mounted.splitlines() if str(place.root) in line or "idmapped" in line]
    assert (place.workspace / "mine").read_text() == "changed\n"
    assert (place.workspace / "mine").stat().st_uid == 0


def test_roots_workspace_that_cannot_be_mapped_starts_nothing(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(_tree: int, _namespace: int) -> None:
        raise OSError(22, "Invalid argument")

    monkeypatch.setattr(namespaces, "idmap_tree", refused)
    with pytest.raises(EnvironmentLacks, match="cannot map the owner"), launched(
        place, workspace=Workspace("bind", "/workspace", str(place.workspace))
    ):
        pass
    assert place.objects() == []


@pytest.mark.parametrize("knows", [False, True])
def test_a_stranger_on_the_socket_is_turned_away(place: Place, monkeypatch: pytest.MonkeyPatch, knows: bool) -> None:
    """Who connects first without being the container's first process ends the launch, nonce or none."""
    make = RunDir.make

    def beaten(run_dir: RunDir, backend: str, nonce: str) -> socket.socket:
        listener = make(run_dir, backend, nonce)  # before the engine has been asked for a container
        stranger = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        stranger.connect(str(run_dir.path / "init.sock"))
        stranger.send(json.dumps({"op": "hello", "nonce": nonce if knows else "guess"}).encode())
        strangers.append(stranger)
        return listener

    strangers: list[socket.socket] = []
    monkeypatch.setattr(RunDir, "make", beaten)
    with pytest.raises(BottleError, match="a stranger"), launched(place):
        pass
    for stranger in strangers:
        stranger.close()
    assert place.objects() == []


def test_a_first_process_that_does_not_know_the_nonce_is_turned_away(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    make = RunDir.make
    monkeypatch.setattr(RunDir, "make", lambda run_dir, backend, _nonce: make(run_dir, backend, "another"))
    with pytest.raises(BottleError, match="a stranger"), launched(place):
        pass
    assert place.objects() == []


def test_an_image_that_is_missing_says_how_to_make_one(place: Place) -> None:
    with pytest.raises(EnvironmentLacks) as lacks, launched(place, image="claude-bottle-tests/none:1"):
        pass
    assert (lacks.value.what, lacks.value.do) == ("the bottle's image is missing", "claude-bottle image build")
    assert place.objects() == []


def test_an_image_without_python_is_an_error_and_leaves_nothing(place: Place) -> None:
    place.engine.docker("import", "--change=ENV X=1", "-", "claude-bottle-tests/empty:1", input=_empty_tar())
    with pytest.raises(BottleError), launched(place, image="claude-bottle-tests/empty:1"):
        pass
    assert place.objects() == []


def _empty_tar() -> bytes:
    return bytes(10240)


def test_two_launches_of_one_identity_do_not_harm_each_other(place: Place) -> None:
    with launched(place) as bottle:
        with pytest.raises(BottleError), launched(place):
            pass
        assert output(bottle, "echo", "unharmed") == (0, "unharmed\n")


def test_bottles_start_side_by_side(place: Place) -> None:
    said: list[tuple[int, str]] = []

    def one(number: int) -> None:
        gate = Gate()
        with launched(place, identity=f"{place.identity[:-1]}{number}", gate=gate) as bottle:
            said.append(output(bottle, "echo", "up"))
        gate.close()

    threads = [threading.Thread(target=one, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert said == [(0, "up\n")] * 3
