"""Attack cases on the file system (threats.md §2, 1–11, 53, 56, 108), run inside real bottles."""

from __future__ import annotations

import os
import socket
import stat

import pytest

from claude_bottle.errors import BottleError
from tests import in_bottle
from tests.backend.keeping import keep
from tests.ordinary_user import Person

CANARY = "canary-7f3a91"


def test_case_1_only_the_declared_entries_stand_at_the_root(person: Person) -> None:
    found = set(in_bottle.probe(person, "import json, os; print(json.dumps(os.listdir('/')))"))
    system = {"bin", "sbin", "lib", "lib32", "lib64", "libx32"}
    assert found - system == {".init", "dev", "etc", "home", "proc", "run", "tmp", "usr", "var", "workspace"}


def test_case_1_etc_holds_nothing_of_the_host_but_the_harmless(person: Person) -> None:
    found = set(in_bottle.probe(person, "import json, os; print(json.dumps(os.listdir('/etc')))"))
    made = {"passwd", "group", "hosts", "resolv.conf", "nsswitch.conf", "hostname", "shells", "ssl", "pki"}
    copied = {
        "ld.so.cache",
        "ld.so.conf",
        "ld.so.conf.d",
        "alternatives",
        "localtime",
        "mime.types",
        "services",
    }
    assert made <= found <= made | copied | {"protocols", "ethertypes"}


@pytest.mark.parametrize("place", ["last", "ancestor"])
@pytest.mark.parametrize("what", ["home", "workspace", "mount"])
def test_case_4_a_source_reached_through_a_link_is_refused(person: Person, place: str, what: str) -> None:
    secret = person.directory("secret")
    (secret / "inner").mkdir()
    (secret / "inner" / "canary").write_text(CANARY)
    link = person.directory("links") / "link"
    link.symlink_to(secret / "inner" if place == "last" else secret)
    path = str(link if place == "last" else link / "inner")
    request = {"mounts": [[path, "/data", "ro"]]} if what == "mount" else {what: path}
    with pytest.raises(BottleError) as refused:
        in_bottle.run(person, ["cat", "/data/canary"], **request)
    assert refused.value.why == "a part of this path is a symbolic link"


def test_case_4_a_source_that_is_a_socket_or_fifo_is_refused(person: Person) -> None:
    place = person.directory("odd")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(place / "sock"))
        os.mkfifo(place / "fifo")
        for name in ("sock", "fifo"):
            with pytest.raises(BottleError) as refused:
                in_bottle.run(person, ["true"], mounts=[[str(place / name), "/data", "ro"]])
            assert refused.value.why == "it is neither a directory nor a regular file"


def test_case_10_no_setid_file_or_device_node_can_be_left_in_a_shared_directory(person: Person) -> None:
    workspace = person.directory("workspace")
    source = """
import ctypes, errno, json, os, stat
libc = ctypes.CDLL(None, use_errno=True)
def attempt(work):
    try:
        work()
        return "ok"
    except OSError as e:
        return errno.errorcode[e.errno]
open("/workspace/f", "w").close()
fd = os.open("/workspace/f", os.O_RDWR)
def raw(number, *args):
    if libc.syscall(number, *args) < 0:
        raise OSError(ctypes.get_errno(), "")
tries = {}
for bit in (0o4000, 0o2000, 0o6000):
    tries[f"chmod {bit:o}"] = lambda b=bit: os.chmod("/workspace/f", 0o755 | b)
    tries[f"fchmod {bit:o}"] = lambda b=bit: os.fchmod(fd, 0o755 | b)
    tries[f"fchmodat2 {bit:o}"] = lambda b=bit: raw(452, -100, b"/workspace/f", 0o755 | b, 0)
    tries[f"create {bit:o}"] = lambda b=bit: os.open(f"/workspace/c{b}", os.O_CREAT | os.O_WRONLY, 0o755 | b)
    tries[f"tmpfile {bit:o}"] = lambda b=bit: os.open("/workspace", os.O_TMPFILE | os.O_WRONLY, 0o755 | b)
    tries[f"mknod {bit:o}"] = lambda b=bit: os.mknod(f"/workspace/m{b}", stat.S_IFREG | 0o755 | b)
tries["device"] = lambda: os.mknod("/workspace/d", stat.S_IFCHR | 0o666, os.makedev(1, 3))
tries["block"] = lambda: os.mknod("/workspace/b", stat.S_IFBLK | 0o666, os.makedev(254, 0))
tries["plain chmod"] = lambda: os.chmod("/workspace/f", 0o755)
tries["fifo"] = lambda: os.mkfifo("/workspace/fifo")
print(json.dumps({name: attempt(work) for name, work in tries.items()}))
"""
    found = in_bottle.probe(person, source, workspace=str(workspace))
    assert (found.pop("plain chmod"), found.pop("fifo")) == ("ok", "ok")
    assert set(found.values()) == {"EPERM"}, found
    for file in workspace.iterdir():
        assert not file.lstat().st_mode & (stat.S_ISUID | stat.S_ISGID), file


def test_case_10_openat2_which_a_filter_cannot_read_is_not_there(person: Person) -> None:
    source = """
import ctypes, json
libc = ctypes.CDLL(None, use_errno=True)
how = (ctypes.c_uint64 * 3)(0o101, 0o6755, 0)
r = libc.syscall(437, -100, b"/workspace/s", how, 24)
print(json.dumps([r, ctypes.get_errno()]))
"""
    assert in_bottle.probe(person, source) == [-1, 38]


def test_case_10_binds_are_nodev_and_nosuid(person: Person) -> None:
    source = """
os.mkdir(place + "/extra")
with launch(mounts=[[place + "/extra", "/data", "rw"]]) as bottle:
    show(open(f"/proc/{bottle._sandbox.first}/mountinfo").read())
"""
    lines = keep(person, source).splitlines()
    options = {line.split()[4]: set(line.split()[5].split(",")) for line in lines}
    assert {"/usr", "/etc", "/home/agent", "/workspace", "/data", "/tmp", "/"} <= set(options)
    devices = {"/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom", "/dev/tty", "/dev/pts"}
    assert all({"nodev", "nosuid"} <= found for where, found in options.items() if where not in devices)
    assert all("nosuid" in options[where] for where in devices)


def test_case_56_the_environment_is_exactly_what_was_asked_for(person: Person) -> None:
    found = in_bottle.probe(person, "import json, os; print(json.dumps(dict(os.environ)))", env={"CI": "1"})
    found.pop("LC_CTYPE", None)  # set by Python itself
    assert found == {**in_bottle.ENV, "CI": "1"}
