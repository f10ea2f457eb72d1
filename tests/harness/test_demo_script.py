from __future__ import annotations

import json

from claude_bottle.harness.base import Launch
from claude_bottle.testing.model import SCRIPTS
from tests.harness.conftest import REAL_KEY, Stage

SESSION = "11111111-2222-4333-8444-555555555555"


def test_the_demo_says_what_really_happened(stage: Stage) -> None:
    """This stage has no network, but none of a bottle's other walls, and holds the real key: the tour must say so."""
    script = json.loads((SCRIPTS / "demo.json").read_text())
    placeholders = {"ANTHROPIC_API_KEY": REAL_KEY}
    launch = Launch(stage.program, ("-p", "Show me around."), session_id=SESSION, placeholders=placeholders)
    done = stage.run(script, launch)
    assert done.returncode == 0, done.stderr
    assert "- The only network device I have is loopback." in done.stdout
    assert "- Raw addresses lead nowhere" in done.stdout
    assert "- There is no way around the proxy." in done.stdout
    assert "- Your ssh keys do not exist for me" in done.stdout
    warnings = [line for line in done.stdout.splitlines() if "⚠" in line]
    assert [word in line for word, line in zip(("locked in", "real API key"), warnings, strict=True)] == [True, True]
    assert (stage.place / "workspace" / "hello-from-the-bottle.md").read_text().startswith("# Hello")


def test_after_the_tour_the_operator_can_have_commands_run(stage: Stage) -> None:
    script = {**json.loads((SCRIPTS / "demo.json").read_text()), "turns": []}
    placeholders = {"ANTHROPIC_API_KEY": REAL_KEY}
    launch = Launch(stage.program, ("-p", "run echo $((40+2)) walruses"), session_id=SESSION, placeholders=placeholders)
    assert "42 walruses" in stage.run(script, launch).stdout
