"""What real Claude Code spends at its model's API is counted, shown, and bounded over a bottle's runs."""

from __future__ import annotations

import json

from tests.e2e.project import Project


def test_what_claude_spends_is_shown_and_a_bound_ends_it_over_a_resume(project: Project) -> None:
    manifest = project.place / "claude-bottle.json"
    said = json.loads(manifest.read_text())
    said["bottles"]["model"]["budget"] = {"usd": 0.000001}
    manifest.write_text(json.dumps(said))
    project.do("trust", "--yes")
    assert "spends at most $0.00 at the model's API" in project.do("start", "claude", "--dry-run")
    first = project.run("run", "claude", "--keep", "--", "-p", "say hello")
    assert first.returncode == 0 and "Hello" in first.stdout, first.stderr
    row = project.only()
    assert row["usd_micros"] > 1 and row["spent"] == "<$0.01"
    assert "SPENT" in project.do("ls", "--all")
    turns = len(project.model.turns)
    resumed = project.terminal("resume", row["identity"], "--yes", "--", "-p", "and again")
    resumed.expect("money_spent")
    resumed.expect("session ended")
    assert len(project.model.turns) == turns, "no request of it has reached the model"
    assert "money_spent" in project.do("egress", row["identity"])
