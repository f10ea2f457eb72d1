"""A stuck agent asks for a tool: approved from another terminal, built, booted again, and the conversation goes on by itself
with what was granted before."""

from __future__ import annotations

import json
from typing import Any

import pexpect
import pytest

from tests.e2e.project import Project, submit
from tests.e2e.test_asking import waiting
from tests.e2e.tooling import TOOLS, kind, project, registries
from tests.registries import Registries
from tests.waiting import SECONDS, eventually

__all__ = ["project", "registries"]
GRANT = {"kind": "egress", "rules": [{"host": "docs.example.com", "methods": ["GET"]}]}


def TURNS(backend: str) -> list[dict[str, Any]]:  # noqa: N802  # as other modules call theirs
    ask = {**TOOLS[backend], "reason": "the tests call it"}
    return [
        {"when": "use brandnew", "tools": [{"name": "Bash", "input": {"command": "brandnew"}}]},
        {"if_result_matches": "not found", "tools": [{"name": "mcp__bottle__request_capability", "input": ask}]},
        {"when": "operator granted", "tools": [{"name": "Bash", "input": {"command": "brandnew"}}]},
        {"say": "Used-it-now.", "if_result_matches": "tool-of-the-layer"},
        {"say": "Without-it-then: {result}", "if_result_matches": "rejected|failed"},
    ]


@pytest.mark.parametrize("project", ["bubblewrap", "docker"], indirect=True)
def test_an_approved_tool_is_built_and_the_same_conversation_uses_it(project: Project) -> None:
    child = project.session()
    submit(child, "use brandnew")
    request = waiting(project)
    identity = project.only()["identity"]
    (what,) = TOOLS[kind(project)]
    assert request["lines"][0].startswith(f"+ {what}")
    assert f"! {what}" in project.do("ls")
    done = project.run("approve", request["id"], "--yes", timeout=4 * SECONDS)
    assert (done.returncode, "is in force" in done.stderr) == (0, True), done
    child.expect("booting again with")
    child.expect("Used-it-now")  # in the same terminal, by itself
    assert project.do("exec", identity, "--", "brandnew") == "tool-of-the-layer\n"
    said = json.dumps(project.seen[-1].body["messages"])
    assert f"The operator granted {request['id']}: {what}" in said
    assert "use brandnew" in said
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
