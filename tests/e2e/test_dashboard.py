"""The dashboard over real bottles: what real Claude Code asks for is read and decided in it, in a real terminal, and its
conversation goes on; a refused name is granted by a key; what happens is watched."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator
from http.server import ThreadingHTTPServer
from pathlib import Path

import pexpect
import pytest

from tests.e2e.project import CLI, Project, submit
from tests.e2e.test_asking import FETCH, HOST, prepared, project, site
from tests.harness.screen import Screen
from tests.waiting import SECONDS

__all__ = ["project", "site"]


@pytest.fixture
def dashboard(tmp_path: Path, project: Project) -> Iterator[Callable[[], Screen]]:
    """Begins one, as the operator of the project."""
    made: list[Screen] = []

    def begin() -> Screen:
        environ = [f"{name}={value}" for name, value in project.env.items()]
        made.append(Screen(tmp_path, ["env", "-i", *environ, *CLI, "dashboard"], columns=80, rows=24))
        return made[-1]

    yield begin
    for screen in made:
        screen.__exit__()


def decide(screen: Screen, key: str, then: str) -> None:
    """Press the key when it counts, until the screen says what comes of it: a machine that stands still just then makes a
    dialog take no key."""
    deadline = time.monotonic() + 2 * SECONDS
    while not re.search(then, screen.text()):
        assert time.monotonic() < deadline, screen.text()
        if re.search(r"\bready\b", screen.text()):
            screen.press(key)
            again = time.monotonic() + 10
            while not re.search(then, screen.text()) and time.monotonic() < again:
                time.sleep(0.1)
        time.sleep(0.05)


def test_what_claude_asks_is_approved_in_the_dashboard_and_goes_into_the_manifest(
    project: Project, site: ThreadingHTTPServer, dashboard: Callable[[], Screen]
) -> None:
    child = prepared(project, site).session()
    screen = dashboard()
    screen.wait("1 running")
    submit(child, "fetch the page")
    screen.wait("1 waiting for you")
    assert site.seen == []  # type: ignore[attr-defined]
    screen.press("2")
    screen.wait("! waiting")
    screen.press("Enter")
    screen.wait(re.escape(f"+ GET  http://{HOST}/**"))
    screen.press(*["Space"] * 8)
    screen.wait("agent says │ the answer is in the documentation")
    decide(screen, "a", "the manifest of")
    child.expect("forty-two")
    assert site.seen == ["/page"]  # type: ignore[attr-defined]
    screen.press(*["Space"] * 4)
    decide(screen, "y", "written: the next start of this agent has it")
    manifest = json.loads((project.place / "claude-bottle.json").read_text())
    rule = {"host": HOST, "port": 80, "methods": ["GET"], "paths": ["/**"]}
    assert manifest["bottles"]["model"]["egress"] == [{"preset": "scripted-model"}, rule]
    plan = json.loads(project.do("start", "claude", "--dry-run", "--format", "json"))
    assert HOST in [rule["host"] for rule in plan["egress"]], "the manifest is still trusted"
    screen.press("Escape")
    screen.wait("in force")
    screen.press("Escape")
    screen.wait("✓ applied")
    screen.press("q")
    assert screen.exit_code() == 0


def test_a_refused_name_is_granted_by_a_key(
    project: Project, site: ThreadingHTTPServer, dashboard: Callable[[], Screen]
) -> None:
    started = prepared(project, site).run("start", "shell", "--yes", "--detach", "--", "sleep", "600")
    identity = started.stdout.split()[-1]
    assert "forty-two" not in project.run("exec", identity, "--", "sh", "-c", FETCH).stdout
    screen = dashboard()
    screen.wait("1 running")
    screen.press("3")
    screen.wait(rf"refused \[g\] +{re.escape(HOST)}")
    screen.press("g")
    screen.wait("your own grant")
    screen.press(*["Space"] * 8)
    decide(screen, "s", r"approved \(session\) and in force")
    granted = json.loads(project.do("grants", "--json"))["grants"]
    assert [(one["scope"], one["change"]["rules"][0]["host"]) for one in granted] == [("session", HOST)]


def test_what_an_agent_does_is_told_while_it_does_it(project: Project, site: ThreadingHTTPServer) -> None:
    child = prepared(project, site).session()
    identity = project.only()["identity"]
    watching = project.terminal("watch", identity, "--json", columns=400)
    told: list[tuple[str, str]] = []

    def tells(what: str, part: str) -> None:
        """Until there is such a line; each account comes when it is written, so in any order."""
        while not any(kind == what and part in text for kind, text in told):
            if watching.expect([r"\{[^\r\n]*\}\r?\n", pexpect.TIMEOUT]):
                raise AssertionError(f"not told of {what} {part}, only of {told}; the terminal shows {child.before!r}")
            one = json.loads(watching.after)
            told.append((one["what"], one["text"]))

    tells("bottle", "agent_started")
    submit(child, "fetch the page")
    tells("command", "python3 -c")
    tells("refused", HOST)
    tells("tool", "mcp__bottle__request_egress")
    project.do("exec", identity, "--", "touch", "/workspace/made-by-hand")
    tells("file", "new made-by-hand")
    project.do("stop", identity, "--timeout", "0")
    tells("bottle", "agent_exited")
    watching.expect(pexpect.EOF)
