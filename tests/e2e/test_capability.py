"""A stuck agent gets a tool: real Claude Code, rebuilt around, goes on with the same conversation by itself."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pexpect
import pytest

from tests.e2e.conftest import APART
from tests.e2e.project import MANIFEST, Project, submit
from tests.e2e.tooling import TOOLS, kind, project, registries
from tests.registries import Registries
from tests.waiting import SECONDS, eventually

__all__ = ["project", "registries"]
ROOT = Path(__file__).resolve().parents[2]
NOTE = "It is installed, and this bottle has been started again with it"
# The agent runs a tool that it has not, then waits; told that it has it, it runs it by itself.
TURNS: list[dict[str, Any]] = [
    {"tools": [{"name": "Bash", "input": {"command": "brandnew"}}], "when": "use brandnew"},
    {"say": "Missing-so-I-wait.", "if_result_matches": "not found"},
    {"tools": [{"name": "Bash", "input": {"command": "touch waiting; sleep 1000"}}], "when": "wait for brandnew"},
    {"tools": [{"name": "Bash", "input": {"command": "brandnew"}}], "when": "operator granted"},
    {"say": "Used-it-now.", "if_result_matches": "tool-of-the-layer"},
]


def grant(project: Project, capability: dict[str, Any]) -> dict[str, Any]:
    words = [sys.executable, "-m", "tests.e2e.granting", project.only()["identity"], json.dumps(capability)]
    done = subprocess.run(words, cwd=ROOT, env=project.env, capture_output=True, text=True, timeout=4 * SECONDS, check=False)
    assert done.returncode == 0, done.stderr
    told: dict[str, Any] = json.loads(done.stdout)
    return told


@pytest.mark.parametrize("project", ["bubblewrap", "docker", APART], indirect=True)
def test_the_conversation_goes_on_by_itself_with_the_tool(project: Project) -> None:
    child = project.session()
    submit(child, "use brandnew")
    child.expect("Missing-so-I-wait")
    identity = project.only()["identity"]
    told = grant(project, TOOLS[kind(project)])
    assert told["how"] == "applied", told
    child.expect("booting again with")
    child.expect("Used-it-now")  # in the same terminal, and nobody has typed anything
    said = json.dumps(project.seen[-1].body["messages"])
    assert all(words in said for words in ("use brandnew", "Missing-so-I-wait", NOTE, "tool-of-the-layer"))
    assert project.only()["identity"] == identity
    assert project.only()["status"] == "running"
    submit(child, "/exit")
    child.expect(pexpect.EOF)
    assert project.listing() == []


@pytest.mark.parametrize("project", ["bubblewrap", "docker"], indirect=True)
def test_nobody_need_be_there_and_resume_has_the_tool_too(project: Project) -> None:
    child = project.session()
    submit(child, "use brandnew")
    child.expect("Missing-so-I-wait")
    child.sendcontrol("]")
    child.expect(pexpect.EOF)
    identity = project.only()["identity"]
    assert grant(project, TOOLS[kind(project)])["how"] == "applied"
    project.model.wait_for(lambda _: "tool-of-the-layer" in json.dumps(project.seen[-1].body["messages"]), SECONDS)
    assert project.do("exec", identity, "--", "brandnew") == "tool-of-the-layer\n"
    project.do("stop", "--keep", identity)
    eventually(lambda: not project.living(identity))
    assert project.record(identity)["layers"] == [TOOLS[kind(project)]]
    child = project.session("resume", identity, "--yes")
    assert project.do("exec", identity, "--", "brandnew") == "tool-of-the-layer\n"
    project.ask(child, "still there?")
    submit(child, "/exit")
    child.expect(pexpect.EOF)


def test_an_agent_that_waits_in_a_tool_goes_on_from_there(project: Project) -> None:
    """As one does that has asked and waits for its answer: what it waited for is answered by the note."""
    child = project.session()
    submit(child, "wait for brandnew")
    identity = project.only()["identity"]
    eventually(lambda: project.run("exec", identity, "--", "test", "-e", "waiting").returncode == 0)
    assert grant(project, TOOLS["bubblewrap"])["how"] == "applied"
    child.expect("Used-it-now")
    messages = project.seen[-1].body["messages"]
    blocks = [block for message in messages if isinstance(message["content"], list) for block in message["content"]]
    asked = {block["id"] for block in blocks if block["type"] == "tool_use"}
    answered = {block["tool_use_id"] for block in blocks if block["type"] == "tool_result"}
    assert asked == answered and len(asked) == 2, messages  # or the real model's service would refuse it
    assert NOTE in json.dumps(messages)
    submit(child, "/exit")
    child.expect(pexpect.EOF)


def test_a_run_goes_on_too_and_ends_with_what_came_of_it(project: Project) -> None:
    """Nobody is attached and no terminal is there: the prompt was an argument, and is not given again."""
    words = ["run", "claude", "--", "-p", "wait for brandnew"]
    running = subprocess.Popen(
        [sys.executable, "-m", "claude_bottle", *words], cwd=project.place, env=project.env, text=True,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    eventually(lambda: [row for row in project.listing() if row["status"] == "running"])
    identity = project.only()["identity"]
    eventually(lambda: project.run("exec", identity, "--", "test", "-e", "waiting").returncode == 0)
    assert grant(project, TOOLS["bubblewrap"])["how"] == "applied"
    out, err = running.communicate(timeout=2 * SECONDS)
    assert (running.returncode, out) == (0, "Used-it-now.\n"), err
    asked = [message["content"] for message in project.seen[-1].body["messages"] if message["role"] == "user"]
    assert json.dumps(asked).count("wait for brandnew") == 1
    assert project.listing() == []


def test_a_failed_build_leaves_the_session_alone(project: Project) -> None:
    child = project.session()
    submit(child, "use brandnew")
    child.expect("Missing-so-I-wait")
    told = grant(project, {"pip": ["nosuchthing"]})
    assert told["how"] == "failed"
    assert "nosuchthing" in told["why"]
    assert os.listdir(project.home / "layers") == []
    project.ask(child, "still there?", answer="Hello")
    submit(child, "/exit")
    child.expect(pexpect.EOF)


def with_tools(project: Project, *capabilities: dict[str, Any]) -> None:
    bottles = {**MANIFEST["bottles"], "closed": {"capabilities": list(capabilities)}}
    project.write({**MANIFEST, "bottles": bottles})


def test_a_manifest_gives_tools_from_the_start(project: Project, registries: Registries) -> None:
    with_tools(project, {"pip": ["brandnew==1.0"]})
    refused = project.run("run", "closed", "--", "brandnew")
    assert refused.returncode == 3  # consent was to another content
    assert "build and use the layer pip brandnew==1.0" in refused.stderr
    project.trust()
    plan = json.loads(project.do("start", "closed", "--dry-run", "--format", "json"))
    assert plan["layers"][0]["pip"] == ["brandnew==1.0"]
    assert plan["layers"][0]["reaches"] == ["pypi.test"]
    assert not (project.home / "layers").exists()  # a plan builds nothing
    first = project.run("run", "closed", "--", "brandnew")
    assert (first.returncode, first.stdout) == (0, "tool-of-the-layer\n"), first.stderr
    assert "Successfully installed" in first.stderr or "building the layer" in first.stderr
    registries.files.clear()
    assert project.do("run", "closed", "--", "brandnew") == "tool-of-the-layer\n"  # built once
    (listed,) = json.loads(project.do("image", "ls", "--backend", "bubblewrap", "--json"))
    assert (listed["name"], listed["layer"]) == (plan["layers"][0]["name"], "pip brandnew==1.0")
    assert project.do("image", "prune", "--backend", "bubblewrap").split() == [listed["name"]]
    assert os.listdir(project.home / "layers") == []


def test_a_layer_that_cannot_be_built_starts_nothing(project: Project) -> None:
    with_tools(project, {"pip": ["nosuchthing"]})
    project.trust()
    done = project.run("run", "closed", "--", "true")
    assert done.returncode == 1
    assert "the layer could not be built" in done.stderr
    assert "nosuchthing" in done.stderr
    assert project.listing() == []


def test_cleanup_takes_the_layers_that_no_bottle_needs(project: Project) -> None:
    with_tools(project, {"pip": ["brandnew"]})
    project.trust()
    assert project.run("run", "closed", "--", "sh", "-c", "exit 3").returncode == 3
    assert len(os.listdir(project.home / "layers")) == 1
    identity = project.only()["identity"]
    assert "nothing to remove" in project.do("image", "prune", "--backend", "bubblewrap")
    resumed = project.terminal("resume", identity, "--yes")
    resumed.expect(r"\$ ")
    resumed.sendline("exit")
    resumed.expect(pexpect.EOF)
    project.do("cleanup", "--all", "--yes")
    assert os.listdir(project.home / "layers") == []
