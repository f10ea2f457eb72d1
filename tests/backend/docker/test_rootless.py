"""An ordinary user's own docker engine: their bottles are subordinate users of theirs, the gate stands beside them, and the
plan says which limits hold."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.docker_image import TAG
from tests.ordinary_user import SUBORDINATE, Person
from tests.rootless_engine import rootless

__all__ = ["rootless"]

PRELUDE = f"""
import json, os, sys
from pathlib import Path
from claude_bottle.backend import get_bottle_backend
from claude_bottle.errors import EnvironmentLacks
from claude_bottle.testing.conformance import Place
from claude_bottle.testing.conformance.place import shell
root = Path(sys.argv[1])
def say(name, what):
    state = Path(os.environ["CLAUDE_BOTTLE_HOME"])
    state.mkdir(mode=0o700, exist_ok=True)
    (state / name).write_text(json.dumps(what))
    (state / name).chmod(0o600)
say("image.json", {{"base": "{TAG}"}})
say("config.json", {{}})
(root / "place").mkdir()
backend = get_bottle_backend("docker")
place = Place(backend, root / "place")
"""


def operator(person: Person, source: str) -> Any:
    """What the person's program (PRELUDE and `source`) prints as JSON."""
    done = person.run([person.python, "-c", PRELUDE + source, str(person.directory("test"))], timeout=240)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_its_bottles_are_users_that_nobody_else_is(rootless: Person) -> None:
    found = operator(rootless, """
(place.home / "brought").write_text("in")
with place.up() as bottle:
    said = shell(bottle, "id -un; cat ~/brought; echo out > ~/taken").out.split()
    outside = open(f"/proc/{bottle._attached.first}/status").read()
    bottle.close()
    bottle.fetch_home()
taken = place.home / "taken"
uid = next(line for line in outside.splitlines() if line.startswith("Uid:")).split()[1:]
print(json.dumps([said, sorted(set(map(int, uid))), taken.read_text(), taken.stat().st_uid, backend.leftovers()]))
""")  # fmt: skip
    # Uid 0 of the container is the person; the others follow from the first subordinate one.
    assert found == [["agent", "in"], [SUBORDINATE + rootless.uid - 1], "out\n", rootless.uid, []]


def test_a_limit_that_its_engine_cannot_enforce_is_not_promised(rootless: Person) -> None:
    enforced, info, checks = operator(rootless, """
from claude_bottle.backend.docker.engine import Engine
enforced = {limit.name: limit.enforced for limit in place.plan().limits if limit.name != "disk"}
print(json.dumps([enforced, Engine().info(), {check.name: check.state for check in backend.check()}]))
""")  # fmt: skip
    assert enforced == {"memory": info["MemoryLimit"], "pids": info["PidsLimit"], "cpus": info["CpuCfsQuota"]}
    assert checks["memory limit"] == ("ok" if enforced["memory"] else "weaker")
    assert checks["docker"] == "ok" and checks["workspace"] == "weaker"


def test_a_directory_of_theirs_is_worked_on_as_a_copy_only(rootless: Person) -> None:
    what, do = operator(rootless, """
project = root / "project"
project.mkdir()
try:
    with place.up(place.boot(workspace=project), cwd=project, workspace={"mode": "bind"}):
        print("up")
except EnvironmentLacks as lacks:
    print(json.dumps([lacks.what, lacks.do]))
""")  # fmt: skip
    assert "cannot be written" in what and "--cwd" in do


@pytest.mark.parametrize("asked", ["require", "check"])
def test_a_gate_on_this_host_is_refused_before_anything_is_made(rootless: Person, asked: str) -> None:
    what, do = operator(rootless, f"""
say("config.json", {{"gate": "host"}})
try:
    found = backend.{asked}()
    print(json.dumps([found[0].detail, found[0].fix]))
except EnvironmentLacks as lacks:
    print(json.dumps([lacks.what, lacks.do]))
""")  # fmt: skip
    assert "a gate on this host cannot serve" in what and '"gate": "auto"' in do
