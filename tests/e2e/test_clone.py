"""A workspace that is a git clone, as a user meets it, on every backend."""

from __future__ import annotations

import json
import os
import subprocess

import pytest

from tests.e2e.conftest import BACKENDS
from tests.e2e.project import MANIFEST, Project

pytestmark = pytest.mark.parametrize("project", BACKENDS, indirect=True)


def git(project: Project, *words: str) -> str:
    identity = ["-c", "user.name=a", "-c", "user.email=a@b.test"]
    environment = {"PATH": os.environ["PATH"], "HOME": "/nonexistent"}
    command = ["git", *identity, *words]
    return subprocess.run(command, cwd=project.place, env=environment, capture_output=True, text=True, check=True).stdout


def test_an_agent_works_on_a_branch_of_its_own_clone_and_its_commits_are_kept(project: Project) -> None:
    clone = {"workspace": {"mode": "clone", "include": ["uncommitted"]}}
    project.write({**MANIFEST, "bottles": {**MANIFEST["bottles"], "closed": clone}})
    project.trust()
    git(project, "init", "-q", "-b", "main")
    (project.place / "file").write_text("one\n")
    git(project, "add", ".")
    git(project, "commit", "-qm", "first")
    (project.place / "file").write_text("two\n")
    plan = json.loads(project.do("start", "closed", "--dry-run", "--format", "json"))
    assert plan["workspace"]["include"] == ["uncommitted"]
    assert "a clone of the git repository" in project.do("start", "closed", "--dry-run")

    done = project.run("run", "closed", "--", "sh", "-c", "git status --short; git branch --show-current; cat file")
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 3, done
    status, branch, text = done.stdout.splitlines()
    assert (status, text) == (" M file", "two")
    assert branch.startswith("bottle/closed-")
    assert project.listing() == []

    work = "git -c user.name=x -c user.email=x@y.test commit -qam second; git log --format=%s"
    done = project.run("run", "closed", "--", "sh", "-c", work)
    assert done.stdout.split() == ["second", "first"], done.stderr
    assert "unexported work" in done.stderr
    identity = project.only()["identity"]
    project.do("resume", identity, "--yes", "--detach", "--", "sleep", "1000")
    assert project.do("exec", identity, "--", "git", "log", "--format=%s").split() == ["second", "first"]
    project.do("stop", identity)
    assert git(project, "log", "--all", "--format=%s").split() == ["first"]
    assert git(project, "status", "--short") == " M file\n"
