"""An ordinary operator who may use docker: the bottle runs under their own id, and what it writes is theirs."""

from __future__ import annotations

import json
import os
import subprocess
from typing import Any

import pytest

from tests.backend.docker.bottles import Place
from tests.ordinary_user import Person
from tests.waiting import SECONDS

PRELUDE = """
import json, os, sys
from pathlib import Path
from claude_bottle.errors import BottleError
from claude_bottle.model.plan import Workspace
from tests.backend.docker.bottles import Place, launched, output, start
root, image, identity = sys.argv[1:]
place = Place(Path(root), Path(root, "home"), Path(root, "workspace"), None, image, identity)
"""


def keep(place: Place, person: Person, source: str) -> Any:
    """What a keeper of this person's (PRELUDE and `source`) prints as JSON."""
    if os.geteuid() != 0 or not place.engine.private:
        pytest.skip("cannot run here: nobody else may be let use the daemon")
    root = person.directory("place")
    for name in ("home", "workspace"):
        (root / name).mkdir()
        os.chown(root / name, person.uid, person.gid)
    user = ["setpriv", f"--reuid={person.uid}", f"--regid={person.uid}", f"--groups={place.engine.group}", "--", "env"]
    command = [*user, person.python, "-c", PRELUDE + source, str(root), place.image, place.identity]
    env = {**person.environment(), **place.engine.settings, "DOCKER_CONFIG": str(person.place)}
    env["CLAUDE_BOTTLE_HOME"] = f"{root}/state"
    done = subprocess.run(
        command, env=env, cwd=person.place, capture_output=True, text=True, timeout=2 * SECONDS, check=False
    )
    assert done.returncode == 0, done.stderr
    assert place.objects() == []
    return json.loads(done.stdout)


@pytest.fixture
def person(everybody: dict[str, Person]) -> Person:
    return everybody["user"]


def test_the_bottle_runs_as_the_operator_and_is_called_agent(place: Place, person: Person) -> None:
    source = """
(place.home / "seeded").write_text("here")
(place.home / "seeded").chmod(0o600)
with launched(place) as bottle:
    said = output(bottle, "sh", "-c", "whoami; id -u; echo $HOME; cat ~/seeded; : > ~/made; tty; echo x > /dev/stdout")
    master, slave = bottle.open_pty()
    stdio = (slave, slave, slave)
    terminal = bottle.spawn(["sh", "-c", "tty"], env={"PATH": "/usr/bin:/bin"}, stdio=stdio, controlling_tty=True).wait()
    inside = open(f"/proc/{bottle._sandbox.first}/status").read()
print(json.dumps([said, terminal, bottle.host_uid, inside]))
"""
    (code, said), terminal, host_uid, status = keep(place, person, source)
    assert (code, terminal, host_uid) == (0, 0, None)
    assert said.split() == ["agent", str(person.uid), "/home/agent", "herenot", "a", "tty", "x"]
    assert f"Uid:\t{person.uid}" in status and "CapEff:\t0000000000000000" in status


def test_home_and_workspace_come_back_as_the_operators_whatever_their_modes(place: Place, person: Person) -> None:
    source = """
with launched(place) as bottle:
    output(bottle, "sh", "-c", "cd; mkdir d; echo 1 > d/closed; chmod 0 d/closed; chmod 0 d")
    output(bottle, "sh", "-c", "umask 077; echo 2 > ~/mine; echo 3 > /workspace/w; chmod 0 ~ /workspace")
    bottle.fetch_home(["mine"])
    early = (place.home / "mine").read_text()
    bottle.close()
    bottle.fetch_home()
found = {str(p.relative_to(place.root)): [p.read_text(), p.stat().st_uid] for name in ("home", "workspace")
         for p in (place.root / name).rglob("*") if p.is_file()}
print(json.dumps([early, found]))
"""
    early, found = keep(place, person, source)
    assert early == "2\n"
    assert found == {
        "home/d/closed": ["1\n", person.uid], "home/mine": ["2\n", person.uid], "workspace/w": ["3\n", person.uid],
    }  # fmt: skip


def test_a_workspace_of_their_own_is_worked_on_directly(place: Place, person: Person) -> None:
    source = """
(place.workspace / "file").write_text("before")
with launched(place, workspace=Workspace("bind", "/workspace", str(place.workspace))) as bottle:
    said = output(bottle, "sh", "-c", "cat file; echo after > file; echo new > new")
print(json.dumps([said, (place.workspace / "file").read_text(), (place.workspace / "new").stat().st_uid]))
"""
    assert keep(place, person, source) == [[0, "before"], "after\n", person.uid]


def test_recovery_needs_no_root(place: Place, person: Person) -> None:
    source = """
from claude_bottle.backend import get_bottle_backend
pid = os.fork()
if pid == 0:
    with launched(place) as bottle:
        output(bottle, "sh", "-c", "echo late > ~/late; chmod 600 ~/late")
        os.kill(os.getpid(), 9)
os.waitpid(pid, 0)
get_bottle_backend("docker").recover(place.identity, place.home, place.workspace)
print(json.dumps([(place.home / "late").read_text(), (place.home / "late").stat().st_uid]))
"""
    assert keep(place, person, source) == ["late\n", person.uid]


def test_nothing_of_theirs_is_open_to_others_on_the_host(place: Place, person: Person) -> None:
    source = """
from claude_bottle.backend.docker.rundir import RunDir
from claude_bottle.state.paths import Paths
with launched(place) as bottle:
    run = RunDir(Paths.default(), place.identity)
    modes = [oct(directory.stat().st_mode) for directory in (Paths.default().root, run.cid_file.parent, run.path.parent)]
    print(json.dumps([modes, sorted(os.listdir(run.path)), str(place.root) in open("/proc/self/mountinfo").read()]))
"""
    assert keep(place, person, source) == [["0o40700"] * 3, ["group", "passwd"], False]
