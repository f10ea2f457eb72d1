"""Faults around container bottles (threats.md §4): nothing is lost, nothing is left, the next command explains.

What breaks is broken from outside: containers removed by hand, keepers killed at a chosen moment, engines ended. Tests
that end an engine have one of their own.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pexpect
import pytest

from tests.docker_image import TAG
from tests.e2e.project import CLI, MANIFEST, Project, kill
from tests.e2e.test_preservation import WORD, assert_resumes, begin
from tests.waiting import SECONDS, eventually

on_docker = pytest.mark.parametrize("project", ["docker"], indirect=True)
# A client that does as the real one, but ends its keeper when it is told to run a container.
DEADLY = """#!/bin/sh
case "$1" in
run) [ "$WHEN" = before ] || {client} "$@"; kill -9 $PPID ;;
*) exec {client} "$@" ;;
esac
"""
# Python itself interrupts a command that loads what goes on with a launch, as an operator may.
INTERRUPTED = """
import os, signal, sys
sys.addaudithook(lambda event, words: event == "import" and words[0] in {names} and os.kill(os.getpid(), signal.SIGINT))
"""


def started(project: Project, agent: str, *command: str) -> str:
    """The identity of a running bottle."""
    return project.do("start", agent, "--yes", "--detach", "--", *command).split()[-1]


def container(identity: str) -> str:
    return f"claude-bottle-{identity}"


@on_docker
def test_a_container_removed_by_hand_loses_nothing(project: Project) -> None:
    child, identity = begin(project)
    engine = project.containers.engine  # type: ignore[union-attr]
    engine.docker("rm", "--force", "--volumes", container(identity))
    child.expect(r"session ended \(exit 137\)")
    child.expect(f"to resume this bottle: claude-bottle resume {identity}")
    child.expect(pexpect.EOF)
    assert project.only()["status"] == "preserved"
    assert_resumes(project, identity)


@on_docker
def test_what_was_said_is_archived_while_the_agent_runs_so_that_no_engine_is_needed_for_it(project: Project) -> None:
    """Keeper, container and volumes go at once, as with a host that is lost: the conversation is there all the same."""
    child, identity = begin(project)  # has waited for the archive to catch up, with the agent running
    archive = project.home / "transcripts" / "claude" / identity
    assert [file for file in archive.rglob("*.jsonl") if WORD in file.read_text()]
    assert project.only()["status"] == "running"
    engine = project.containers.engine  # type: ignore[union-attr]
    kill(project.record(identity)["keeper"]["pid"])
    child.expect(pexpect.EOF)
    eventually(lambda: not project.living(identity))
    engine.docker("volume", "rm", "--force", f"{container(identity)}-home", f"{container(identity)}-work")
    assert project.objects() == []
    assert_resumes(project, identity)


@on_docker
def test_an_agent_that_meets_its_memory_limit_is_recorded_as_such_and_preserved(project: Project) -> None:
    bottles = {**MANIFEST["bottles"], "closed": {"limits": {"memory": "96m"}}}
    project.write({**MANIFEST, "bottles": bottles})
    project.trust()
    hog = "echo begun > ~/note; exec python3 -c 'b = bytearray(1 << 30)'"
    done = project.run("run", "closed", "--", "sh", "-c", hog)
    assert done.returncode == 137, done.stderr
    row = project.only()
    assert row["preserved"] == ["killed (out of memory)"]
    assert "out of memory" in project.do("log", row["identity"])
    again = project.run("resume", row["identity"], "--yes", "--detach", "--", "sleep", "600")
    assert again.returncode == 0, again.stderr
    assert project.do("exec", row["identity"], "--", "cat", "/home/agent/note") == "begun\n"


@on_docker
@pytest.mark.parametrize("when", ["before", "after"])
def test_what_a_keeper_killed_in_the_middle_of_a_start_left_is_gone_after_the_next_start(
    project: Project, tmp_path: Path, when: str
) -> None:
    """By a named context, for which the engine's client is needed. (Of one that needs none, what a killed command has begun
    is tried in tests/backend/docker/test_owners.py.)"""
    client = subprocess.run(["which", "docker"], env=project.env, capture_output=True, text=True, check=True).stdout.strip()
    place = tmp_path / "deadly"
    place.mkdir()
    (place / "docker").write_text(DEADLY.format(client=client).replace("$WHEN", when))
    (place / "docker").chmod(0o755)
    before = dict(project.env)
    host = project.env.pop("DOCKER_HOST")
    project.env["DOCKER_CONFIG"] = str(tmp_path / "client")
    subprocess.run([client, "context", "create", "named", f"--docker=host={host}"], env=project.env, check=True,
                   capture_output=True)  # fmt: skip
    project.env |= {"DOCKER_CONTEXT": "named", "PATH": f"{place}:{project.env['PATH']}"}
    done = project.run("run", "closed", "--", "true")
    project.env.clear()
    project.env.update(before)
    assert done.returncode == 1, done.stderr
    assert "keeper" in done.stderr
    assert "Traceback" not in done.stderr
    eventually(lambda: not [name for name in project.objects() if not name.endswith(("-home", "-work"))])
    done = project.run("run", "closed", "--", "echo", "fine")
    assert (done.returncode, done.stdout) == (0, "fine\n"), done.stderr
    assert project.objects() == []


@on_docker
@pytest.mark.parametrize("words", [["run", "closed"], ["start", "closed", "--yes", "--detach"]], ids=["run", "start"])
def test_an_interrupt_once_the_engine_is_at_work_leaves_nothing(project: Project, tmp_path: Path, words: list[str]) -> None:
    names = {f"claude_bottle.{name}" for name in ("keeper.birth", "keeper.spawn", "workflow.piping")}
    (tmp_path / "sitecustomize.py").write_text(INTERRUPTED.format(names=names))
    project.env["PYTHONPATH"] = str(tmp_path)
    done = project.run(*words, "--", "true")
    del project.env["PYTHONPATH"]
    assert (done.returncode, done.stderr) == (130, "claude-bottle: interrupted\n")
    assert (project.listing(), project.objects()) == ([], [])


@on_docker
def test_two_at_once_run_side_by_side(project: Project) -> None:
    argv = [*CLI, "run", "closed", "--", "sh", "-c", "echo $HOME; cat"]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    running = [subprocess.Popen(argv, cwd=project.place, env=project.env, **pipes) for _ in range(2)]  # type: ignore[call-overload]
    for number, one in enumerate(running):
        out, err = one.communicate(f"{number}\n", timeout=2 * SECONDS)
        assert (one.returncode, out) == (0, f"/home/agent\n{number}\n"), err
    assert project.objects() == []


@on_docker
def test_of_two_that_resume_one_bottle_one_does(project: Project) -> None:
    identity = started(project, "closed", "sleep", "600")
    project.do("stop", "--keep", identity)
    argv = [*CLI, "resume", identity, "--yes", "--detach", "--", "sleep", "600"]
    both = [subprocess.Popen(argv, cwd=project.place, env=project.env, stdin=subprocess.DEVNULL, text=True,
                             stdout=subprocess.PIPE, stderr=subprocess.PIPE) for _ in range(2)]  # fmt: skip
    said = [(one.communicate(timeout=2 * SECONDS)[1], one.returncode) for one in both]
    assert sorted(code for _, code in said) == [0, 1], said
    (loser,) = (text for text, code in said if code == 1)
    assert identity in loser
    assert project.only()["status"] == "running"
    assert project.objects() == [container(identity), f"{container(identity)}-home", f"{container(identity)}-work"]


@on_docker
def test_an_image_that_went_missing_is_made_again(project: Project) -> None:
    engine, text = project.containers.engine, f"FROM {TAG}\nRUN echo {project.place} > /etc/own\n"  # type: ignore[union-attr]
    (project.place / "Dockerfile.agent").write_text(text)
    bottles = {**MANIFEST["bottles"], "closed": {"image": {"dockerfile": "Dockerfile.agent"}}}
    project.write({**MANIFEST, "bottles": bottles})
    project.trust()
    identity = started(project, "closed", "sh", "-c", "cat /etc/own > ~/note; sleep 600")
    eventually(lambda: project.run("exec", identity, "--", "cat", "/home/agent/note").stdout == f"{project.place}\n")
    project.do("stop", "--keep", identity)
    plan = json.loads((project.home / "state" / identity / "plan.json").read_text())
    tags = [step["tag"] for step in plan["image_build"]]
    engine.docker("image", "rm", "--force", *tags)
    project.do("resume", identity, "--yes", "--detach", "--", "sleep", "600")
    assert project.do("exec", identity, "--", "cat", "/home/agent/note", "/etc/own") == 2 * f"{project.place}\n"
    project.do("stop", identity)
    engine.docker("image", "rm", "--force", *tags)


@on_docker
def test_a_base_image_that_cannot_be_had_is_one_error(project: Project) -> None:
    project.settings("image.json", {"base": "127.0.0.1:1/no/such:image"})
    before = project.files()
    done = project.run("run", "closed", "--", "true")
    assert done.returncode in (1, 4)
    assert done.stderr.rstrip().splitlines()[-1].startswith("  do ")
    assert "127.0.0.1:1/no/such:image" in done.stderr
    assert project.files() == before
    assert project.objects() == []
