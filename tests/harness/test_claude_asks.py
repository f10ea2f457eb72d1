"""Real Claude Code in a bottle's network, with a real gate: it finds the tools, asks, waits, and goes on with the answer."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from claude_bottle.gate import control
from claude_bottle.gate.config import GateConfig, Upstream
from claude_bottle.model.policy import Rule
from tests.gate.conftest import RecordingServer, hello
from tests.gate.test_process import NONCE, Process
from tests.harness.conftest import Stage
from tests.harness.test_claude import launch_of
from tests.waiting import SECONDS

SERVER = "api.example.com"
FETCH = {"name": "Bash", "input": {"command": f"curl -sS http://{SERVER}/x"}}
RULES = [{"host": SERVER, "port": 80, "methods": ["GET"]}]
ASK = {"name": "mcp__bottle__request_egress", "input": {"rules": RULES, "reason": "to say hello"}}


class Operator:
    """The keeper's side: a gate process, and decisions taken as requests come."""

    def __init__(self, upstream: RecordingServer) -> None:
        upstreams = {(SERVER, 80): Upstream("127.0.0.1", upstream.port)}
        self.gate = Process(GateConfig("test-abc123", (Rule("other.example.net"),), (), upstreams, "", NONCE))
        self.asked: dict[str, object] = {}

    def tell(self, op: str, **data: object) -> None:
        self.gate.keeper.sendall(control.encode(op, **data))

    def decide(self, state: str, text: str) -> None:
        self.asked = self.gate.expect("ask")
        self.tell("request", ticket=self.asked["ticket"], id="q-1", state="submitted", text="")
        if state == "applied":
            self.tell("policy", revision=1, rules=[Rule(SERVER, port=80, methods=("GET",), origin="grant g-1").to_dict()])
            self.gate.expect("policy_set")
        self.tell("request", id="q-1", state=state, text=text)

    def run(self, argv: list[str]) -> subprocess.CompletedProcess[str]:
        """Run `argv` where the bottle's listeners are."""
        channel = self.gate.registration.fileno()
        return subprocess.run(
            [sys.executable, "-m", "tests.gate.netns", str(channel), NONCE, "[]"],
            input=f"import os; os.execv({argv[0]!r}, {argv!r})", capture_output=True, text=True, timeout=3 * SECONDS,
            pass_fds=[channel], cwd=Path(__file__).parents[2], check=False,
        )  # fmt: skip


@pytest.fixture
def operator() -> Iterator[Operator]:
    upstream = RecordingServer(hello)
    found = Operator(upstream)
    yield found
    found.gate.close()
    upstream.close()


def ask(stage: Stage, operator: Operator, script: object, *decision: str) -> subprocess.CompletedProcess[str]:
    stage.bottled = True
    thread = threading.Thread(target=operator.decide, args=decision, daemon=True)
    if decision:
        thread.start()
    argv = stage.prepare(script, launch_of(stage.program, "-p", "fetch it", tty=False, headless=True))
    done = operator.run(argv)
    thread.join(SECONDS if decision else 0) if decision else None
    return done


def turns(stage: Stage) -> list[dict[str, Any]]:
    return stage.turns()


def test_claude_code_is_given_the_tools_and_told_when_to_use_them(stage: Stage, operator: Operator) -> None:
    script = [
        {"say": "Looking.", "tools": [{"name": "mcp__bottle__my_policy", "input": {}}]},
        {"either": [{"if_result_matches": "other.example.net", "say": "it is granted"}, {"say": "no"}]},
    ]
    done = ask(stage, operator, script)
    assert (done.returncode, done.stdout.strip()) == (0, "it is granted"), done.stderr
    first = turns(stage)[0]["body"]
    tools = {tool["name"]: tool for tool in first["tools"]}
    assert "mcp__bottle__request_egress" in tools
    assert "mcp__bottle__request_capability" in tools
    assert "operator" in tools["mcp__bottle__request_egress"]["description"]
    assert "You work in a bottle" in str(first["system"])


def test_claude_code_is_blocked_asks_waits_and_goes_on_with_what_was_granted(stage: Stage, operator: Operator) -> None:
    script = [
        {"say": "Fetching.", "tools": [FETCH]},
        {"say": "Asking.", "tools": [ASK]},
        {"say": "Again.", "tools": [FETCH]},
        {"either": [{"if_result_matches": "hello", "say": "fetched it"}, {"say": "failed"}]},
    ]
    done = ask(stage, operator, script, "applied", "granted for this session: GET http://api.example.com/**")
    assert (done.returncode, done.stdout.strip()) == (0, "fetched it"), done.stderr
    assert operator.asked["reason"] == "to say hello"
    last = str(turns(stage)[-1]["body"]["messages"])
    assert "granted for this session" in last
    assert "Could not resolve host" in last


def test_claude_code_is_told_why_it_was_rejected(stage: Stage, operator: Operator) -> None:
    script = [
        {"say": "Asking.", "tools": [ASK]},
        {"either": [{"if_result_matches": "use the mirror", "say": "then the mirror"}, {"say": "lost"}]},
    ]
    done = ask(stage, operator, script, "rejected", "rejected by the operator: use the mirror")
    assert (done.returncode, done.stdout.strip()) == (0, "then the mirror"), done.stderr


def test_servers_of_the_operators_own_stand_beside_ours(stage: Stage, operator: Operator) -> None:
    stage.bottled = True
    (stage.home / ".claude.json").write_text('{"mcpServers": {"mine": {"type": "http", "url": "http://bottle.internal/mcp"}}}')
    other = '--mcp-config={"mcpServers":{"other":{"type":"http","url":"http://bottle.internal/mcp"}}}'
    launch = launch_of(stage.program, other, "-p", "hello", tty=False, headless=True)
    done = operator.run(stage.prepare([{"say": "hello"}], launch))
    assert done.returncode == 0, done.stderr
    names = {tool["name"] for tool in turns(stage)[0]["body"]["tools"]}
    assert {f"mcp__{server}__my_policy" for server in ("bottle", "mine", "other")} <= names
