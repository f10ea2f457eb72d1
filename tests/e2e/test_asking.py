"""A stuck agent asks and its operator answers: real Claude Code in a pty, the decision in another terminal, and the very call
that waited returns into the same conversation."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pexpect
import pytest

from tests.e2e.conftest import APART, BACKENDS
from tests.e2e.project import Project, submit
from tests.waiting import eventually

HOST = "docs.bottle.test"
FETCH = f"python3 -c 'import urllib.request as u; print(u.urlopen(\"http://{HOST}/page\").read().decode())' 2>&1 | tail -1"
REASON = "the answer is in the documentation"
ASK = {"rules": [{"host": HOST, "port": 80, "methods": ["GET"], "paths": ["/**"]}], "reason": REASON}
TURNS: list[dict[str, Any]] = [
    {"when": "fetch", "tools": [{"name": "Bash", "input": {"command": FETCH}, "label": "blocked"}]},
    {"if_result_matches": "Error|refused|not known", "tools": [{"name": "mcp__bottle__request_egress", "input": ASK}]},
    {"either": [
        {"if_result_matches": "is granted", "tools": [{"name": "Bash", "input": {"command": FETCH}}]},
        {"if_result_matches": "rejected", "say": "So the operator said: {result}"},
    ]},
    {"say": "The page says: {result}"},
]  # fmt: skip


# Hands in a request over plain HTTP and does not wait.
POST = """
import json, sys, urllib.request
body = json.dumps({"kind": "egress", "reason": "to try", **json.loads(sys.argv[1])}).encode()
request = urllib.request.Request("http://bottle.internal/request?wait=0", body, {"content-type": "application/json"})
print(urllib.request.urlopen(request, timeout=90).read().decode())
"""


class Page(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.server.seen.append(self.path)  # type: ignore[attr-defined]
        body = b"forty-two"
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Not on our stderr."""


@pytest.fixture
def site() -> Iterator[ThreadingHTTPServer]:
    """What the agent wants to reach; `seen` are the paths that arrived."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Page) as server:
        server.seen = []  # type: ignore[attr-defined]
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def project(request: pytest.FixtureRequest, tmp_path: Path, tools: Path) -> Iterator[Project]:
    """As in conftest, with a model that plays TURNS."""
    wanted = getattr(request, "param", BACKENDS[0])
    containers = request.getfixturevalue("containers") if wanted in ("docker", APART) else None
    made = Project(tmp_path, tools, TURNS, containers=containers)
    made.trust()
    made.apart = wanted == APART  # type: ignore[attr-defined]
    yield made
    made.close()
    assert made.objects() == []


def prepared(project: Project, site: ThreadingHTTPServer) -> Project:
    here = "127.0.0.1"
    if getattr(project, "apart", False):
        project.place_gate("container")
        here = "10.0.2.2"  # this machine's loopback, seen from a container of the tests' daemon
    places = {"model.bottle.test:443": f"{here}:{project.model.port}", f"{HOST}:80": f"{here}:{site.server_port}"}
    settings = json.loads((project.home / "config.json").read_text())
    project.configure(places)
    upstreams = json.loads((project.home / "config.json").read_text())["upstreams"]
    project.settings("config.json", {**settings, "upstreams": upstreams})
    return project


def waiting(project: Project) -> dict[str, Any]:
    found: list[dict[str, Any]] = []

    def asks() -> bool:
        found[:] = json.loads(project.do("requests", "--json"))["requests"]
        return bool(found)

    eventually(asks)
    return found[0]


def kinds(project: Project, identity: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(project.do("log", identity, "--json"))["entries"]
    return found


@pytest.mark.parametrize("project", [*BACKENDS, APART], indirect=True)
def test_blocked_asks_approved_in_another_terminal_and_the_same_call_goes_on(
    project: Project, site: ThreadingHTTPServer
) -> None:
    child = prepared(project, site).session()
    submit(child, "fetch the page")
    request = waiting(project)
    identity = project.only()["identity"]
    child.expect(re.escape(f"{identity} asks: {HOST}:80"))
    assert request["reason"] == REASON
    assert site.seen == []  # type: ignore[attr-defined]
    assert f"! {HOST}:80" in project.do("ls")
    other = project.terminal("approve", request["id"], columns=80)
    other.expect("its own words")
    other.expect(r"approve this for .*\? \[y/N\] ")
    other.send("y\r")
    other.expect("is in force")
    other.expect(pexpect.EOF)
    child.expect("forty-two")
    assert site.seen == ["/page"]  # type: ignore[attr-defined]
    assert project.do("requests").strip() == "nobody asks for anything"
    assert f"GET  http://{HOST}/**" in project.do("grants")
    assert "grant" in project.do("log", identity)


def test_a_rejection_reaches_the_agent_with_its_reason(project: Project, site: ThreadingHTTPServer) -> None:
    child = prepared(project, site).session()
    submit(child, "fetch the page")
    request = waiting(project)
    project.do("reject", request["id"], "--reason", "ask-the-teacher")
    child.expect("ask-the-teacher")
    assert site.seen == []  # type: ignore[attr-defined]


def test_a_revoked_grant_is_refused_again(project: Project, site: ThreadingHTTPServer) -> None:
    child = prepared(project, site).session()
    submit(child, "fetch the page")
    project.do("approve", waiting(project)["id"], "--yes", "--scope", "agent")
    child.expect("forty-two")
    identity = project.only()["identity"]
    grant = json.loads(project.do("grants", "--json"))["grants"][0]["id"]
    project.do("revoke", grant)
    done = project.run("exec", identity, "--", "sh", "-c", FETCH)
    assert "forty-two" not in done.stdout
    assert site.seen == ["/page"]  # type: ignore[attr-defined]


def test_a_headless_run_waits_for_an_answer_from_another_terminal(project: Project, site: ThreadingHTTPServer) -> None:
    prepared(project, site)
    answers: list[Any] = []
    running = threading.Thread(target=lambda: answers.append(project.run("run", "claude", "--", "-p", "fetch the page")))
    running.start()
    project.do("approve", waiting(project)["id"], "--yes", "--scope", "once")
    running.join()
    assert "forty-two" in answers[0].stdout
    assert answers[0].returncode == 0


def test_a_file_of_approvals_answers_where_nobody_watches(project: Project, site: ThreadingHTTPServer) -> None:
    prepared(project, site)
    rule = {"host": HOST, "port": 80, "methods": ["GET"], "paths": ["/**"]}
    file = approvals(project, {"egress": rule, "scope": "session"})
    plan = json.loads(project.do("start", "claude", "--dry-run", "--format", "json", "--approvals", file))
    assert plan["approvals"][0]["rules"][0]["host"] == HOST
    assert plan["digest"] != json.loads(project.do("start", "claude", "--dry-run", "--format", "json"))["digest"]
    done = project.run("run", "claude", "--approvals", file, "--keep", "--", "-p", "fetch the page")
    assert "forty-two" in done.stdout, done.stderr
    decided = [one for one in kinds(project, project.only()["identity"]) if one["kind"] == "decided"]
    assert decided[0]["data"]["by"] == "the file of approvals, entry 1"


def test_a_file_of_approvals_that_says_less_leaves_it_to_the_operator(project: Project, site: ThreadingHTTPServer) -> None:
    prepared(project, site)
    file = approvals(
        project, {"egress": {"host": HOST, "port": 80, "methods": ["GET"], "paths": ["/other"]}, "scope": "session"}
    )
    done = project.run("start", "claude", "--yes", "--detach", "--approvals", file)
    identity = done.stdout.split()[-1]
    done = project.run("exec", identity, "--", "/usr/bin/python3", "-c", POST, json.dumps({"rules": ASK["rules"]}))
    assert json.loads(done.stdout)["state"] == "submitted", done
    assert waiting(project)["state"] == "submitted"
    assert project.do("grants").startswith("nothing was granted")


def approvals(project: Project, *entries: dict[str, Any]) -> str:
    file = Path(project.operator) / "approvals.json"
    file.write_text(json.dumps({"version": 1, "approve": list(entries)}))
    file.chmod(0o600)
    return str(file)
