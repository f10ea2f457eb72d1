"""Attacks on container bottles that need the engine's own word, or limits that only an engine enforces (threats.md §2).

What every backend is attacked with is tests/attack; what a single container is made of, tests/backend/docker.
"""

from __future__ import annotations

import json

import pytest

from tests.docker_engine import Engine
from tests.e2e.project import KEY, MANIFEST, Project
from tests.waiting import eventually

# Takes every process there is; then says so where it is brought out although nothing more can be started.
BOMB = """
import os, time
os.makedirs("/home/agent/.claude/projects/p")
while True:
    try:
        if os.fork() == 0:
            time.sleep(600)
    except OSError:
        with open("/home/agent/.claude/projects/p/talk.jsonl", "a") as file:
            print('{"it": "is full"}', file=file)
        print("full")
        time.sleep(0.1)
"""
pytestmark = pytest.mark.parametrize("project", ["docker"], indirect=True)


def engine(project: Project) -> Engine:
    assert project.containers is not None
    return project.containers.engine


def started(project: Project, agent: str, *command: str) -> str:
    return project.do("start", agent, "--yes", "--detach", "--", *(command or ("sleep", "600"))).split()[-1]


def limited(project: Project, **limits: object) -> None:
    project.write({**MANIFEST, "bottles": {**MANIFEST["bottles"], "closed": {"limits": limits}}})
    project.trust()


def test_case_56_neither_the_engine_nor_the_image_holds_a_secret(project: Project) -> None:
    identity = started(project, "shell")
    docker, name = engine(project).docker, f"claude-bottle-{identity}"
    image = json.loads((project.home / "state" / identity / "plan.json").read_text())["image"]
    said = [docker("container", "inspect", name), docker("image", "inspect", image), docker("top", name, "-ef"),
            docker("image", "history", "--no-trunc", image), docker("container", "diff", name),
            *(docker("volume", "inspect", f"{name}-{kind}") for kind in ("home", "work"))]  # fmt: skip
    assert all(said[:4])
    placeholder = project.do("exec", identity, "--", "sh", "-c", "echo $ANTHROPIC_API_KEY").strip()
    assert placeholder
    assert [text for text in said if KEY in text or placeholder in text] == []


def test_case_115_a_fork_bomb_meets_its_limit_and_stop_still_works(project: Project) -> None:
    limited(project, pids=64)
    identity = started(project, "closed", "python3", "-c", BOMB)
    talk = project.home / "transcripts" / "closed" / identity
    eventually(lambda: [file for file in talk.rglob("*.jsonl") if "full" in file.read_text()])
    other = project.run("run", "closed", "--", "echo", "fine")
    assert (other.returncode, other.stdout) == (0, "fine\n"), other.stderr
    project.do("stop", identity)
    eventually(lambda: not project.living(identity))


def test_case_116_memory_and_tmpfs_are_bounded_and_hurt_nobody_else(project: Project) -> None:
    limited(project, memory="96m")
    # What lies in a tmpfs counts as the bottle's memory, so the agent is what the kernel ends.
    identity = started(project, "closed", "sh", "-c", "echo begun > ~/note; exec cat /dev/zero > /tmp/full")
    beside = started(project, "closed")
    eventually(lambda: project.record(identity)["status"] == "preserved")
    assert project.record(beside)["status"] == "running"
    assert project.record(identity)["preserved"] == ["killed (out of memory)"]
    assert project.do("exec", beside, "--", "echo", "fine") == "fine\n"
    project.do("resume", identity, "--yes", "--detach", "--", "sleep", "600")
    assert project.do("exec", identity, "--", "cat", "/home/agent/note") == "begun\n"


def test_case_125_to_end_one_bottle_again_and_again_leaves_the_others_alone(project: Project) -> None:
    gone, stays = started(project, "shell"), started(project, "shell")
    before = [name for name in project.objects() if stays in name]
    project.do("stop", gone)
    assert project.run("stop", gone).returncode == 1
    for _ in range(2):
        project.run("cleanup", gone, "--yes")
        project.run("cleanup", "--all", "--yes")
    assert project.run("cleanup", stays, "--yes").returncode == 1
    assert project.objects() == before
    asked = project.do("exec", stays, "--", "curl", "-sw", "%{http_code}", "-o", "/dev/null", "https://model.bottle.test/none")
    assert asked == "403"  # its gate still answers
