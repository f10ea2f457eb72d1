"""The container engine goes away under running bottles: what they wrote is kept, and the next command brings it home.

An engine of these tests' own, since everybody who shares one would suffer. Only what outlives the engine can be asked of
a bottle meanwhile; programs inside go on or not as the engine leaves them, and in both cases nothing is lost.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docker_engine import own_engine
from tests.docker_image import TAG, root_file_system
from tests.e2e.project import Containers, Project, kill
from tests.waiting import eventually

TALK = '{"type": "user", "message": {"role": "user", "content": "remember the word tangerine"}}'
WORK = f"echo kept > ~/note; mkdir -p ~/.claude/projects/p; echo '{TALK}' > ~/.claude/projects/p/talk.jsonl; echo work > note"
ENGINE_GONE = "what it left outside could not be removed"


@pytest.fixture(scope="module")
def fragile() -> Iterator[Containers]:
    with own_engine() as engine:
        archive = root_file_system()
        if isinstance(archive, str):
            pytest.skip(f"cannot run here: {archive}")
        engine.docker("import", str(archive), TAG)
        yield Containers(engine, TAG)


@pytest.fixture
def project(fragile: Containers, tmp_path: Path, tools: Path) -> Iterator[Project]:
    made = Project(tmp_path, tools, containers=fragile)
    made.trust()
    yield made
    made.close()
    assert made.objects() == []


def started(project: Project, then: str) -> str:
    """A running bottle that has written, has been archived, and does `then`."""
    identity = project.do("start", "closed", "--yes", "--detach", "--", "sh", "-c", f"{WORK}; {then}").split()[-1]
    archive = project.home / "transcripts" / "closed" / identity
    eventually(lambda: [file for file in archive.rglob("*.jsonl") if "tangerine" in file.read_text()])
    return identity


def assert_kept(project: Project, identity: str) -> None:
    """Its next start has all it wrote, and leaves nothing on the engine."""
    project.do("resume", identity, "--yes", "--detach", "--", "sleep", "600")
    files = ("/home/agent/note", "/workspace/note", "/home/agent/.claude/projects/p/talk.jsonl")
    assert project.do("exec", identity, "--", "cat", *files) == f"kept\nwork\n{TALK}\n"
    project.do("stop", identity)
    eventually(lambda: not project.living(identity))
    assert [name for name in project.objects() if identity in name] == []


def test_an_engine_that_is_restarted_under_a_session_loses_nothing(project: Project, fragile: Containers) -> None:
    identity = started(project, "sleep 600")
    fragile.engine.restart()
    eventually(lambda: project.only()["status"] == "preserved")
    assert "tangerine" in project.do("transcript", identity)
    assert_kept(project, identity)


def test_an_engine_that_crashed_before_a_session_ends_loses_nothing(project: Project, fragile: Containers) -> None:
    stopped = started(project, "sleep 600")
    ending = started(project, "while [ ! -e ~/end ]; do sleep 0.05; done")
    fragile.engine.end_dockerd(signal.SIGKILL)
    try:
        assert project.run("stop", stopped).returncode == 0
        project.do("exec", ending, "--", "touch", "/home/agent/end")
        eventually(lambda: [row["status"] for row in project.listing()] == 2 * ["preserved"])
        assert all(ENGINE_GONE in row["preserved"] for row in project.listing())
        refused = project.run("resume", stopped, "--yes")
        assert (refused.returncode, "docker is not running" in refused.stderr) == (4, True), refused.stderr
        refused = project.run("run", "closed", "--", "true")
        assert (refused.returncode, "docker is not running" in refused.stderr) == (4, True), refused.stderr
        assert len(project.listing()) == 2
    finally:
        fragile.engine.restart()
    assert_kept(project, stopped)
    assert_kept(project, ending)


def test_a_bottle_whose_keeper_and_engine_both_died_comes_home_once_the_engine_runs(
    project: Project, fragile: Containers
) -> None:
    identity = started(project, "sleep 600")
    keeper = project.record(identity)["keeper"]["pid"]
    fragile.engine.end_dockerd(signal.SIGKILL)
    try:
        kill(keeper)
        eventually(lambda: project.only()["status"] == "interrupted")
        assert "tangerine" in project.do("transcript", identity)
    finally:
        fragile.engine.restart()
    assert_kept(project, identity)
