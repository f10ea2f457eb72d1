"""What was granted to a bottle, over its end and its resume: said in the plan, in force from the boot."""

from __future__ import annotations

import json
import os
import signal
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.project import KEY, Project
from tests.e2e.test_asking import HOST, POST, site
from tests.waiting import ended, eventually

__all__ = ["site"]

FETCH = f"import urllib.request as u; print(u.urlopen('http://{HOST}/page', timeout=90).read().decode())"
# One request to the scripted model with whatever the variable holds, its status on stdout.
SIGN_IN = """
import os, urllib.error, urllib.request
body = b'{"model":"m","max_tokens":5,"messages":[{"role":"user","content":"hi"}]}'
request = urllib.request.Request("https://model.bottle.test/v1/messages", body, {"x-api-key": os.environ["MODEL_KEY"]})
try:
    print(urllib.request.urlopen(request, timeout=90).status)
except urllib.error.HTTPError as problem:
    print(problem.status)
"""
OFFER = {"model": {"from": {"env": "SCRIPTED_MODEL_KEY"}, "env": "MODEL_KEY", "header": "x-api-key"}}
SLEEP = ("--", "sleep", "600")


@pytest.fixture
def started(project: Project, site: ThreadingHTTPServer) -> str:
    """A running bottle that may reach nothing; the operator offers a credential."""
    project.configure(
        {"model.bottle.test:443": f"127.0.0.1:{project.model.port}", f"{HOST}:80": f"127.0.0.1:{site.server_port}"}
    )
    said = json.loads((project.home / "config.json").read_text())
    project.settings("config.json", {**said, "credentials": OFFER})
    return project.do("start", "closed", "--yes", "--detach", *SLEEP).split()[-1]


def inside(project: Project, identity: str, source: str, *words: str) -> str:
    return project.run("exec", identity, "--", "/usr/bin/python3", "-I", "-c", source, *words).stdout.strip()


def asked(project: Project, identity: str, **change: Any) -> str:
    return str(json.loads(inside(project, identity, POST, json.dumps(change)))["id"])


def ask_for_the_page(project: Project, identity: str) -> str:
    return asked(project, identity, rules=[{"host": HOST, "port": 80, "methods": ["GET"]}])


def grants(project: Project) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(project.do("grants", "--json"))["grants"]
    return found


def test_a_grant_for_the_agent_is_in_force_from_the_boot_of_its_resume_and_said_before(
    project: Project, started: str
) -> None:
    project.do("approve", ask_for_the_page(project, started), "--yes", "--scope", "agent")
    project.do("stop", "--keep", started)
    assert [one["identity"] for one in grants(project)] == [started]
    shown = project.run("resume", started, "--yes", "--detach", *SLEEP)
    assert shown.returncode == 0, shown.stderr
    assert f"still granted ({grants(project)[0]['id']}): {HOST}:80, for this agent" in " ".join(shown.stdout.split())
    assert inside(project, started, FETCH) == "forty-two"


@pytest.mark.parametrize("scope", ["session", "once"])
def test_a_grant_for_the_session_ends_with_it(project: Project, started: str, scope: str) -> None:
    project.do("approve", ask_for_the_page(project, started), "--yes", "--scope", scope)
    project.do("stop", "--keep", started)
    project.do("resume", started, "--yes", "--detach", *SLEEP)
    assert grants(project) == []
    assert inside(project, started, FETCH) == ""


def test_a_grant_that_is_revoked_while_nothing_runs_is_gone_at_the_resume(project: Project, started: str) -> None:
    project.do("approve", ask_for_the_page(project, started), "--yes", "--until", "3h")
    project.do("stop", "--keep", started)
    project.do("revoke", grants(project)[0]["id"])
    project.do("resume", started, "--yes", "--detach", *SLEEP)
    assert inside(project, started, FETCH) == ""
    assert json.loads(project.do("log", "--verify", "--json", started))["ok"]


def test_a_keeper_killed_after_the_approval_is_finished_by_the_resume(project: Project, started: str) -> None:
    project.do("approve", ask_for_the_page(project, started), "--yes", "--scope", "agent")
    keeper = project.record(started)["keeper"]["pid"]
    os.kill(keeper, signal.SIGKILL)
    assert ended(keeper)
    eventually(lambda: not project.living(started))
    project.do("resume", started, "--yes", "--detach", *SLEEP)
    assert inside(project, started, FETCH) == "forty-two"
    assert len(grants(project)) == 1


def test_a_credential_that_was_granted_is_in_the_variables_of_the_resume(project: Project, started: str) -> None:
    rule = {"host": "model.bottle.test", "methods": ["POST"], "paths": ["/v1/messages"], "credential": "model"}
    request = asked(project, started, kind="credential", rule=rule)
    project.do("approve", request, "--yes", "--scope", "agent")
    project.do("stop", "--keep", started)
    project.do("resume", started, "--yes", "--detach", *SLEEP)
    assert inside(project, started, SIGN_IN) == "200"
    assert project.model.requests[-1].credential == KEY
    for path in project.home.rglob("*"):
        assert not path.is_file() or KEY.encode() not in path.read_bytes()


def test_a_credential_that_is_not_offered_any_more_ends_its_grant_and_nothing_else(project: Project, started: str) -> None:
    rule = {"host": "model.bottle.test", "methods": ["POST"], "paths": ["/v1/messages"], "credential": "model"}
    project.do("approve", asked(project, started, kind="credential", rule=rule), "--yes", "--scope", "agent")
    project.do("approve", ask_for_the_page(project, started), "--yes", "--scope", "agent")
    project.do("stop", "--keep", started)
    said = json.loads((project.home / "config.json").read_text())
    project.settings("config.json", {**said, "credentials": {}})
    project.do("resume", started, "--yes", "--detach", *SLEEP)
    assert [one["kind"] for one in grants(project)] == ["egress"]
    assert "is over: no credential model is offered any more" in project.do("log", started)
    assert inside(project, started, FETCH) == "forty-two"


def test_a_damaged_file_of_requests_is_refused_kept_and_explained(project: Project, started: str) -> None:
    project.do("approve", ask_for_the_page(project, started), "--yes", "--scope", "agent")
    project.do("stop", "--keep", started)
    file = Path(project.home) / "state" / started / "requests.json"
    file.write_text(file.read_text()[:-20])
    before = file.read_bytes()
    done = project.run("resume", started, "--yes", "--detach")
    assert done.returncode == 1
    assert "requests.json is damaged" in done.stderr
    assert file.read_bytes() == before
