"""Attack cases on the file system (threats.md §2, 1, 2, 7, 8, 11, 108): what the plan does not show is not there."""

from __future__ import annotations

import os
import socket

import pytest

from tests.attack.operators import CANARY, Bottle
from tests.attack.probes import KERNEL

SECRETS = [
    ".ssh/id_ed25519", ".ssh/config", ".aws/credentials", ".config/gh/hosts.yml",
        ".config/gcloud/application_default_credentials.json",
    ".kube/config", ".docker/config.json", ".netrc", ".npmrc", ".pypirc", ".git-credentials", ".gitconfig", ".bash_history",
    ".claude/.credentials.json", ".claude.json", ".codex/auth.json", ".mozilla/firefox/x.default/cookies.sqlite",
        ".gnupg/private-keys-v1.d/x",
]  # fmt: skip


def errnos(bottle: Bottle, paths: list[str]) -> dict[str, str]:
    """What `stat` says about each path inside: ok, or the name of the error."""
    found: dict[str, str] = bottle.python(f"{KERNEL}print(json.dumps({{p: attempt(lambda: os.stat(p)) for p in {paths!r}}}))")
    return found


@pytest.mark.threat(1)
def test_case_1_the_operators_secrets_are_absent_and_not_merely_forbidden(bottle: Bottle) -> None:
    home = bottle.operator.person.place
    for name in SECRETS:
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        (home / name).write_text(CANARY)
    host = [home, home.parent, home.parent.parent, *(home / name for name in SECRETS),
        *((home / name).parent for name in SECRETS)]
    ours = [bottle.operator.home, bottle.operator.place, bottle.world.ca_file, bottle.operator.shown]
    inside = [f"/home/agent/{name}" for name in SECRETS if name not in (".claude.json", ".claude/.credentials.json")]
    more = ["/root/.ssh", "/home/user", "/etc/ssh/ssh_host_ed25519_key", "/var/lib/docker", "/run/secrets", "/etc/kubernetes"]
    found = errnos(bottle, [*map(str, [*host, *ours]), *inside, *more])
    found = {path: said for path, said in found.items() if path not in ("/", "/tmp")}
    assert set(found.values()) <= {"ENOENT"}, {path: said for path, said in found.items() if said != "ENOENT"}
    assert bottle.python("import json, os; print(json.dumps(os.listdir('/home')))") == ["agent"]


@pytest.mark.threat(2)
def test_case_2_protected_files_that_are_made_land_in_bottle_private_storage(bottle: Bottle) -> None:
    names = [".bashrc", ".profile", ".claude/settings.json", ".mcp.json", ".config/git/config", ".ssh/config", ".gitconfig"]
    source = f"""{KERNEL}
for name in {names!r}:
    for base in ("/home/agent/evil/", "/workspace/", "/tmp/"):
        os.makedirs(os.path.dirname(base + name), exist_ok=True)
        open(base + name, "w").write("evil")
print(json.dumps(os.getuid()))
"""
    assert bottle.python(source) == bottle.operator.uid_inside
    places = [bottle.operator.person.place, bottle.operator.place]
    assert [place / name for place in places for name in names if (place / name).exists()
        and "evil" in (place / name).read_text()] == []


@pytest.mark.threat(7)
def test_case_7_no_mount_call_works(bottle: Bottle) -> None:
    source = KERNEL + """
names = ("mount", "umount2", "pivot_root", "chroot", "open_tree", "move_mount", "fsopen", "fsconfig", "fsmount",
    "fspick", "mount_setattr")
found = {name: call(NUMBERS[name], b"/tmp", b"/tmp", b"tmpfs", 0, 0) for name in names}
found["remount"] = call(NUMBERS["mount"], b"", b"/data", b"", 0x1000 | 0x20, 0)
print(json.dumps(found))
"""
    assert set(bottle.python(source).values()) == {"EPERM"}


@pytest.mark.threat(8)
def test_case_8_no_unix_socket_of_the_host_is_there(bottle: Bottle) -> None:
    """Not the operator's own, not the keeper's, and none of those that well-known programs have."""
    person, operator = bottle.operator.person, bottle.operator
    place = person.directory("agent-sock")
    known = ["/run/docker.sock", "/var/run/docker.sock", "/run/containerd/containerd.sock", "/run/podman/podman.sock",
             "/run/dbus/system_bus_socket", f"/run/user/{person.uid}/bus", f"/run/user/{person.uid}/gnupg/S.gpg-agent",
             "/tmp/.X11-unix/X0", "/run/systemd/private", "/run/snapd.socket", "/var/run/nscd/socket"]  # fmt: skip
    with socket.socket(socket.AF_UNIX) as server, socket.socket(socket.AF_UNIX) as shown:
        for one, path in ((server, place / "S.agent"), (shown, operator.shown / "S.shown")):
            one.bind(str(path))
            one.listen()
            os.chmod(path, 0o777)
        keepers = operator.home / "run" / f"{bottle.identity}.sock"
        assert keepers.is_socket()
        assert set(errnos(bottle, [str(place / "S.agent"), str(keepers), *known]).values()) == {"ENOENT"}
        (operator.shown / "S.shown").unlink()
    source = """
import json, os, stat
found = [os.path.join(base, name) for top in ("/run", "/var", "/tmp", "/dev", "/etc", "/home", "/workspace",
    "/data") for base, _, names in os.walk(top)
         for name in names if stat.S_ISSOCK(os.lstat(os.path.join(base, name)).st_mode)]
print(json.dumps(found))
"""
    assert bottle.python(source) == []


@pytest.mark.threat(11)
def test_case_11_nothing_outside_the_writable_roots_changes(bottle: Bottle) -> None:
    canary = bottle.operator.shown / "canary"
    canary.write_text(CANARY)
    canary.chmod(0o666)
    bottle.operator.shown.chmod(0o777)  # so that only the mount protects it
    source = KERNEL + """
import mmap
def mapped():
    fd = os.open("/data/canary", os.O_RDWR)
    mmap.mmap(fd, 4)[0:4] = b"evil"
def through_proc():
    fd = os.open("/data/canary", os.O_RDONLY)
    os.open(f"/proc/self/fd/{fd}", os.O_WRONLY)
tries = {
    "write": lambda: open("/data/canary", "w"), "mmap": mapped, "new": lambda: open("/data/new", "w"), "proc": through_proc,
    "rename": lambda: os.rename("/data/canary", "/data/x"), "unlink": lambda: os.unlink("/data/canary"),
    "truncate": lambda: os.truncate("/data/canary", 0), "chmod": lambda: os.chmod("/data/canary", 0o777),
    "utime": lambda: os.utime("/data/canary"), "xattr": lambda: os.setxattr("/data/canary", "user.x", b"1"),
    "mkdir": lambda: os.mkdir("/data/d"), "symlink": lambda: os.symlink("/etc/passwd", "/data/l"),
        "chown": lambda: os.chown("/data/canary", 1000, 1000),
    "link": lambda: os.link("/data/canary", "/data/l"), "usr": lambda: open("/usr/evil", "w"),
        "etc": lambda: open("/etc/hosts", "w"),
    "root": lambda: open("/evil", "w"), "dev": lambda: open("/dev/evil", "w"),
        "resolv": lambda: os.rename("/etc/resolv.conf", "/etc/x"),
    "ca": lambda: open("/etc/ssl/certs/ca-certificates.crt", "a"),
    "sysctl": lambda: os.write(os.open("/proc/sys/kernel/hostname", os.O_WRONLY), b"x"),
        "core": lambda: os.write(os.open("/proc/sys/kernel/core_pattern", os.O_WRONLY), b"|/x"),
    "usermax": lambda: os.write(os.open("/proc/sys/user/max_user_namespaces", os.O_WRONLY), b"9"),
        "sysrq": lambda: os.write(os.open("/proc/sysrq-trigger", os.O_WRONLY), b"h"),
    "hotplug": lambda: os.write(os.open("/sys/kernel/uevent_helper", os.O_WRONLY), b"/x"),
        "release": lambda: os.write(os.open("/sys/fs/cgroup/release_agent", os.O_WRONLY), b"/x"),
}
print(json.dumps({name: attempt(work) for name, work in tries.items()}))
"""
    found = bottle.python(source)
    assert {found.pop("hotplug"), found.pop("release"), found.pop("sysrq")} <= {"ENOENT", "EROFS", "EACCES", "EPERM"}
    assert {name: said for name, said in found.items() if said not in {"EROFS", "EPERM", "EACCES"}} == {}
    assert canary.read_text() == CANARY
    assert os.listdir(bottle.operator.shown) == ["canary"]


@pytest.mark.threat(108)
def test_case_108_the_bottles_own_state_is_neither_seen_nor_changed(bottle: Bottle) -> None:
    """Record, plan, journal, lock, trust and settings: not beside its home, not beside its workspace, nowhere."""
    operator, state = bottle.operator, bottle.operator.state(bottle.identity)
    ours = [state / name for name in ("record.json", "plan.json", "lock")] + [operator.home / "config.json",
        operator.home / "trust.json"]
    before = {path: path.read_bytes() for path in ours}
    names = sorted({path.name for path in state.iterdir()} - {"home", "workspace"})
    assert "journal.jsonl" in names
    source = f"""{KERNEL}
names = {[*names, "config.json", "trust.json", "claude-bottle.json"]!r}
found = [os.path.join(base, name) for base, inner, files in os.walk("/") for name in files if name in names
    and not base.startswith(("/usr", "/var", "/proc"))]
for base in ("/home", "/home/agent", "/workspace", "/", "/run", "/home/agent/..", "/workspace/../.."):
    for name in names:
        try:
            open(os.path.join(base, name), "w").write("evil")
        except OSError:
            pass
print(json.dumps(found))
"""
    assert bottle.python(source) == []
    assert {path: path.read_bytes() for path in ours} == before
    assert operator.listing()[bottle.identity]["status"] == "running"
