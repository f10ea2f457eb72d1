"""Containers that cannot be had: one error with its fix, exit 4, no debris; "auto" goes on without them and says so.

What each client says in each case, and how it is taken, is tests/backend/docker/test_engine.py's business.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
from pathlib import Path

import pytest

from tests.docker_engine import SETTINGS, Engine
from tests.e2e.project import MANIFEST, Project
from tests.e2e.test_bad_input import assert_one_error
from tests.ordinary_user import Person

RUN = ("run", "closed", "--backend", "docker", "--", "true")
pytestmark = pytest.mark.skipif(shutil.which("docker") is None, reason="cannot run here: docker is not installed")


@pytest.fixture
def lonely(project: Project) -> Project:
    """A project that no engine of this machine or of the tests is known to."""
    for name in SETTINGS:
        project.env.pop(name, None)
    return project


def assert_refused(project: Project, what: str, fix: str) -> None:
    before = project.files()
    for argv in (RUN, ("start", "closed", "--backend", "docker", "--yes")):
        assert_one_error(project.run(*argv), 4, what, fix)
    assert project.files() == before


def test_an_engine_that_is_not_installed(project: Project, tmp_path: Path) -> None:
    project.env["PATH"] = str(tmp_path / "empty")
    assert_refused(project, "docker is not installed", "apt install docker.io")


@pytest.mark.parametrize("dead", [False, True], ids=["no socket", "dead socket"])
def test_an_engine_that_does_not_run(lonely: Project, tmp_path: Path, dead: bool) -> None:
    place = tmp_path / "engine.sock"
    if dead:
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(place))
    lonely.env["DOCKER_HOST"] = f"unix://{place}"
    assert_refused(lonely, "docker is not running", "systemctl start docker")


@pytest.mark.parametrize("how", ["variable", "settings"])
def test_a_context_that_is_not_there(lonely: Project, tmp_path: Path, how: str) -> None:
    if how == "variable":
        lonely.env["DOCKER_CONTEXT"] = "nowhere"
    else:
        lonely.env["DOCKER_CONFIG"] = str(tmp_path / "settings")
        (tmp_path / "settings").mkdir()
        (tmp_path / "settings" / "config.json").write_text('{"currentContext": "nowhere"}')
    assert_refused(lonely, "a context that is not there", "docker context use default")


@pytest.mark.parametrize("host", ["nonsense://x", "tcp://127.0.0.1:1"])
def test_a_host_that_is_none(lonely: Project, host: str) -> None:
    lonely.env["DOCKER_HOST"] = host
    assert_refused(lonely, "docker", "DOCKER_HOST")


def test_a_user_who_may_not_use_the_engine(everybody: dict[str, Person], docker_engine: Engine) -> None:
    person = everybody["user"]
    if not docker_engine.private or os.geteuid() != 0:
        pytest.skip("cannot run here: there is no engine that this user may not use")
    state = person.directory("state")
    manifest = state / "claude-bottle.json"
    agents = {"closed": MANIFEST["agents"]["closed"]}
    manifest.write_text(json.dumps({"version": 1, "bottles": {"closed": {}}, "agents": agents}))
    for path, mode in ((state, 0o700), (manifest, 0o600)):
        os.chown(path, person.uid, person.gid)
        path.chmod(mode)
    env = [f"CLAUDE_BOTTLE_HOME={state}", f"DOCKER_HOST={docker_engine.settings['DOCKER_HOST']}"]
    before = sorted(state.rglob("*"))
    done = person.run(["env", *env, *person.module("claude_bottle", *RUN)])
    assert_one_error(done, 4, "you may not use docker", "usermod -aG docker")
    assert sorted(state.rglob("*")) == before


def test_an_image_bottle_runs_on_bubblewrap_where_there_is_no_engine_and_says_so(project: Project, tmp_path: Path) -> None:
    bottles = {**MANIFEST["bottles"], "closed": {"image": {"from": "debian:stable-slim"}}}
    project.write({**MANIFEST, "bottles": bottles})
    project.trust()
    project.env["DOCKER_HOST"] = f"unix://{tmp_path}/nobody.sock"
    plan = json.loads(project.do("start", "closed", "--dry-run", "--format", "json"))
    assert plan["backend"] == "bubblewrap"
    assert [warning for warning in plan["warnings"] if "docker is not running" in warning and "image is not used" in warning]
    assert "runs on bubblewrap" in project.do("start", "closed", "--dry-run")
    done = project.run("run", "closed", "--", "echo", "here")
    assert (done.returncode, done.stdout) == (0, "here\n"), done.stderr
    assert "runs on bubblewrap" in done.stderr
