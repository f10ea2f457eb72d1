"""A stuck agent asks for a tool: approved from another terminal, built, booted again, and the conversation goes on by itself
with what was granted before."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pexpect
import pytest

from tests.e2e.project import Project, submit
from tests.e2e.test_asking import waiting
from tests.registries import Registries
from tests.waiting import SECONDS, eventually

ASK = {"pip": ["brandnew"], "reason": "the tests call it"}
GRANT = {"kind": "egress", "rules": [{"host": "docs.example.com", "methods": ["GET"]}]}
TURNS: list[dict[str, Any]] = [
    {"when": "use brandnew", "tools": [{"name": "Bash", "input": {"command": "brandnew"}}]},
    {"if_result_matches": "not found", "tools": [{"name": "mcp__bottle__request_capability", "input": ASK}]},
    {"when": "operator granted", "tools": [{"name": "Bash", "input": {"command": "brandnew"}}]},
    {"say": "Used-it-now.", "if_result_matches": "tool-of-the-layer"},
    {"say": "Without-it-then: {result}", "if_result_matches": "rejected|failed"},
]


@pytest.fixture
def registries(tmp_path: Path) -> Iterator[Registries]:
    made = Registries(tmp_path / "registries")
    made.python("brandnew", says="tool-of-the-layer")
    yield made
    made.close()


@pytest.fixture
def project(tmp_path: Path, tools: Path, registries: Registries) -> Iterator[Project]:
    made = Project(tmp_path, tools, TURNS)
    said, more = json.loads((made.home / "config.json").read_text()), registries.settings()
    made.settings("config.json", {**said, **more, "upstreams": {**said["upstreams"], **more["upstreams"]}})
    made.trust()
    yield made
    made.close()


def test_an_approved_tool_is_built_and_the_same_conversation_uses_it(project: Project) -> None:
    child = project.session()
    submit(child, "use brandnew")
    request = waiting(project)
    identity = project.only()["identity"]
    assert request["lines"] == ["+ pip  brandnew"]
    assert "! pip brandnew" in project.do("ls")
    done = project.run("approve", request["id"], "--yes", timeout=4 * SECONDS)
    assert (done.returncode, "is in force" in done.stderr) == (0, True), done
    child.expect("Used-it-now")
    assert project.do("exec", identity, "--", "brandnew") == "tool-of-the-layer\n"
    said = json.dumps(project.seen[-1].body["messages"])
    assert f"The operator granted {request['id']}: pip brandnew" in said
    assert json.loads(project.do("grants", "--json"))["grants"][0]["request"] == request["id"]
    submit(child, "/exit")
    child.expect(pexpect.EOF)


def test_a_rejected_tool_leaves_the_session_as_it_is_and_the_agent_is_told_why(project: Project) -> None:
    child = project.session()
    submit(child, "use brandnew")
    project.do("reject", waiting(project)["id"], "--reason", "write-it-yourself")
    child.expect("Without-it-then")
    child.expect("write-it-yourself")


def test_a_tool_that_cannot_be_built_fails_and_the_agent_is_told_why(project: Project, registries: Registries) -> None:
    registries.close()
    child = project.session()
    submit(child, "use brandnew")
    done = project.run("approve", waiting(project)["id"], "--yes", timeout=4 * SECONDS)
    assert (done.returncode, "but it failed" in done.stderr) == (1, True), done
    child.expect("Without-it-then")


def test_what_was_granted_before_is_in_force_after_the_reboot(project: Project) -> None:
    child = project.session()
    submit(child, "use brandnew")
    request = waiting(project)
    identity = project.only()["identity"]
    grant(project, identity)
    policy = "import urllib.request as u; print(u.urlopen('http://bottle.internal/policy', timeout=90).read().decode())"

    def granted() -> bool:
        return "docs.example.com" in project.run("exec", identity, "--", "/usr/bin/python3", "-c", policy).stdout

    assert granted()
    done = project.run("approve", request["id"], "--yes", timeout=4 * SECONDS)
    assert done.returncode == 0, done
    eventually(granted)
    assert len(json.loads(project.do("grants", "--json"))["grants"]) == 2


def grant(project: Project, identity: str) -> None:
    """The operator's own idea, as the dashboard sends it."""
    from claude_bottle.keeper.client import Control
    from claude_bottle.state.paths import Paths

    with Control(Paths(project.home), identity) as control:
        message = {"op": "grant", "change": GRANT, "scope": "session", "revision": control.requests()["revision"]}
        assert [view["state"] for view in control.decide(message)][-1] == "applied"
