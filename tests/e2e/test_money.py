"""What real Claude Code spends at its model's API is counted, shown, and bounded over a bottle's runs."""

from __future__ import annotations

import json

import pytest

from tests.e2e.conftest import BACKENDS
from tests.e2e.project import Project
from tests.e2e.test_asking import POST

# US dollars for a million tokens: for one it is more than a whole answer costs by the list.
DEAR = 50_000
# One request to the model's API, as any program makes it; what comes of it.
SPEND = """
import json, os, urllib.error, urllib.request
asked = {"model": "claude-sonnet-4-5", "max_tokens": 9, "messages": [{"role": "user", "content": "hello"}]}
said = {"content-type": "application/json", "x-api-key": os.environ["ANTHROPIC_API_KEY"], "anthropic-version": "2023-06-01"}
try:
    request = urllib.request.Request("https://model.bottle.test/v1/messages", json.dumps(asked).encode(), said)
    print(json.load(urllib.request.urlopen(request, timeout=90))["role"])
except urllib.error.HTTPError as refused:
    print(json.load(refused)["reason"])
"""


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


@pytest.mark.parametrize("project", BACKENDS, indirect=True)
def test_more_money_is_asked_for_granted_and_revoked_while_the_bottle_runs(project: Project) -> None:
    own = {"claude-sonnet-4-5": {"input": DEAR, "output": DEAR}}
    project.settings("config.json", {**json.loads((project.home / "config.json").read_text()), "prices": own})
    manifest = project.place / "claude-bottle.json"
    said = json.loads(manifest.read_text())
    said["bottles"]["model"]["budget"] = {"usd": 0.000001}
    manifest.write_text(json.dumps(said))
    project.do("trust", "--yes")
    identity = project.do("start", "shell", "--yes", "--detach", "--", "sleep", "600").split()[-1]

    def spend() -> str:
        return project.do("exec", identity, "--", "python3", "-c", SPEND).strip()

    assert [spend(), spend()] == ["assistant", "money_spent"]
    assert project.only()["usd_micros"] >= DEAR, "by the operator's price"
    asked = json.loads(project.do("exec", identity, "--", "python3", "-c", POST, json.dumps({"kind": "money", "usd": 250})))
    shown = project.do("requests")
    assert "+ budget of money  $250.00 more at the model's API" in shown
    project.do("approve", asked["id"], "--usd", "150", "--yes")
    assert spend() == "assistant"
    (grant,) = json.loads(project.do("grants", "--json"))["grants"]
    assert grant["change"] == {"kind": "money", "usd": 150}
    project.do("revoke", grant["id"])
    assert spend() == "money_spent"
    project.do("stop", identity, "--timeout", "0")
