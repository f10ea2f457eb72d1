"""A keeper killed between an approval and the tool: the resume carries it out, once, and the same conversation goes on."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pexpect
import pytest

from tests.e2e.project import Project, submit
from tests.e2e.test_asking import kinds, waiting
from tests.e2e.tooling import FRAGMENT, project, registries
from tests.waiting import SECONDS, ended, eventually

__all__ = ["project", "registries"]
# An image of this run's own: nobody has built it before.
OWN = f"{FRAGMENT}RUN echo {os.urandom(8).hex()} > /etc/own\n"
ASK = {"dockerfile": OWN, "reason": "the tests call it"}
TURNS: list[dict[str, Any]] = [
    {"when": "get brandnew", "tools": [{"name": "mcp__bottle__request_capability", "input": ASK}]},
    {"when": "operator granted", "tools": [{"name": "Bash", "input": {"command": "brandnew"}}]},
    {"say": "Used-it-now.", "if_result_matches": "tool-of-the-layer"},
]
# A client that does as the real one, but instead of its first build it ends the keeper, whose builder has started it.
DEADLY = """#!/bin/sh
if [ "$1" = build ] && rm "$0.armed" 2> /dev/null; then
    kill -9 $(sed -n 's/^PPid:[[:space:]]*//p' /proc/$PPID/status)
    exit 1
fi
exec {client} "$@"
"""


@pytest.mark.parametrize("project", ["docker"], indirect=True)
def test_a_tool_approved_before_its_keeper_was_killed_is_built_once_by_the_resume(project: Project, tmp_path: Path) -> None:
    deadly = tmp_path / "deadly" / "docker"
    deadly.parent.mkdir()
    deadly.write_text(DEADLY.format(client=shutil.which("docker", path=project.env["PATH"])))
    deadly.chmod(0o755)
    deadly.with_name("docker.armed").touch()
    project.env["PATH"] = f"{deadly.parent}:{project.env['PATH']}"
    child = project.session()
    submit(child, "get brandnew")
    request = waiting(project)["id"]
    identity = project.only()["identity"]
    keeper = project.record(identity)["keeper"]["pid"]
    done = project.run("approve", request, "--yes", timeout=4 * SECONDS)
    assert done.returncode != 0 and "Traceback" not in done.stderr, done
    assert ended(keeper)
    child.expect(pexpect.EOF)
    eventually(lambda: not project.living(identity))
    assert project.listing()[0]["status"] in ("interrupted", "preserved")
    assert project.do("grants").startswith("nothing was granted")
    child = project.session("resume", identity, "--yes")
    child.expect("Used-it-now")  # once it has been built and the bottle booted again: nobody has said anything
    said = json.dumps(project.seen[-1].body["messages"])
    assert "get brandnew" in said and f"The operator granted {request}" in said
    assert project.record(identity)["layers"] == [{"dockerfile": OWN}]
    layers = [one["data"]["state"] for one in kinds(project, identity) if one["kind"] == "layer"]
    assert layers.count("added") == 1
    assert [one["request"] for one in json.loads(project.do("grants", "--json"))["grants"]] == [request]
    submit(child, "/exit")
    child.expect(pexpect.EOF)
