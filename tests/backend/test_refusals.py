"""A kernel or a security module that refuses a step, as Ubuntu's AppArmor does: said with the fix, nothing half made.

The refusals are made with a seccomp filter around the whole command line, the sysctl that tells their cause is a copy.
What cannot be tried here is the profile itself: no AppArmor runs on the machines these tests know.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from tests.ordinary_user import Person

REFUSE = """
import os, struct, sys
from claude_bottle.backend import namespaces as ns
from claude_bottle.backend.bubblewrap import prereqs
numbers = {"unshare": (272, 97), "mount": (165, 40), "PR_CAPBSET_DROP": (157, 167), "nothing": (999, 999)}
number = numbers[sys.argv[1]][os.uname().machine != "x86_64"]
argument = 24 if sys.argv[1] == "PR_CAPBSET_DROP" else None
def step(code, k, yes=0, no=0):
    return struct.pack("=HBBI", code, yes, no, k)
refuse, allow = step(0x06, 0x00050000 | int(sys.argv[2])), step(0x06, 0x7FFF0000)
load_number, load_argument = step(0x20, 0), step(0x20, 16)
if argument is None:
    program = load_number + step(0x15, number, 0, 1) + refuse + allow
else:
    program = load_number + step(0x15, number, 0, 3) + load_argument + step(0x15, argument, 0, 1) + refuse + allow
ns.prctl(ns.PR_SET_NO_NEW_PRIVS, 1)
ns.install_filter(program)
from pathlib import Path
prereqs.SYSCTL = Path(sys.argv[3])
from claude_bottle.cli import main
sys.exit(main(sys.argv[4:]))
"""
MANIFEST = {"version": 1, "bottles": {"b": {}}, "agents": {"a": {"bottle": "b", "harness": "shell"}}}


@pytest.fixture
def ubuntu(person: Person) -> Path:
    """A place of this person with what the kernel of Ubuntu 24.04 says, and a state root with a manifest."""
    place = person.directory("place")
    for name, value in (("kernel/apparmor_restrict_unprivileged_userns", 1), ("user/max_user_namespaces", 55000)):
        (place / "sys" / name).parent.mkdir(parents=True)
        (place / "sys" / name).write_text(f"{value}\n")
    write = f"mkdir -m 700 {place}/root; cat > {place}/root/claude-bottle.json"
    done = person.run(["sh", "-c", write], input=json.dumps(MANIFEST))
    assert done.returncode == 0
    return place


def refused(person: Person, place: Path, call: str, errno: int, *words: str) -> subprocess.CompletedProcess[str]:
    command = ["env", f"CLAUDE_BOTTLE_HOME={place}/root", person.python, "-c", REFUSE]
    return person.run([*command, call, str(errno), str(place / "sys"), *words])


RUN = ("run", "a", "--backend", "bubblewrap", "--", "true")


def test_without_a_refusal_it_runs(person: Person, ubuntu: Path) -> None:
    done = refused(person, ubuntu, "nothing", 1, *RUN)
    assert done.returncode == 0, done.stderr


# unshare is refused where there is no profile `unprivileged_userns`; what comes after it where there is one; and what
# bwrap starts is refused by bwrap-userns-restrict.
@pytest.mark.parametrize(("call", "errno"), [("unshare", 1), ("unshare", 13), ("mount", 13), ("PR_CAPBSET_DROP", 1)])
def test_apparmor_is_named_with_the_profile_to_install_and_nothing_is_left(
    person: Person, ubuntu: Path, call: str, errno: int
) -> None:
    done = refused(person, ubuntu, call, errno, *RUN)
    by_bwrap = call == "PR_CAPBSET_DROP"
    if person.uid == 0 and not by_bwrap:
        # Root is not who AppArmor restricts: it is told of something else.
        assert done.returncode == 4
        assert "AppArmor" not in done.stderr
        return
    assert done.returncode == 4, done.stderr
    assert "kernel.apparmor_restrict_unprivileged_userns=1" in done.stderr.replace("\n        ", " ")
    assert "sudo tee /etc/apparmor.d/claude-bottle" in done.stderr
    assert "sudo apparmor_parser -r /etc/apparmor.d/claude-bottle" in done.stderr
    left = refused(person, ubuntu, "nothing", 1, "ls", "--all", "--json")
    assert json.loads(left.stdout) == {"bottles": []}
    assert sorted(path.name for path in (ubuntu / "root").glob("state/*")) == []


def test_doctor_says_the_same(person: Person, ubuntu: Path) -> None:
    done = refused(person, ubuntu, "PR_CAPBSET_DROP", 1, "doctor")
    assert "sudo apparmor_parser -r /etc/apparmor.d/claude-bottle" in done.stdout
    if person.uid != 0:
        done = refused(person, ubuntu, "mount", 13, "doctor")
        assert "sudo apparmor_parser -r /etc/apparmor.d/claude-bottle" in done.stdout
