"""What `start` adds to a backend's plan."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from claude_bottle.gate import confine
from claude_bottle.state.paths import Paths
from claude_bottle.workflow import start

MANIFEST = {
    "version": 1,
    "bottles": {"web": {"egress": [{"host": "a.example"}]}, "offline": {}},
    "agents": {name: {"bottle": name, "harness": "shell"} for name in ("web", "offline")},
}


@pytest.mark.parametrize("agent", ["web", "offline"])
def test_the_gates_own_layers_are_in_the_plan_of_a_bottle_that_has_one(
    agent: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "state"
    root.mkdir(0o700)
    (root / "claude-bottle.json").write_text(json.dumps(MANIFEST))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("CLAUDE_BOTTLE_HOME", str(root))
    options = start.Options(agent, dry_run=True, backend="bubblewrap")
    _, plan = start.prepare(options, Paths.default(), tmp_path, cwd=tmp_path)
    layers = [layer for layer in plan.protections if layer.name.startswith("gate: ")]
    assert layers == (list(confine.available()) if agent == "web" else [])
    assert plan.to_dict()["protections"]


@pytest.mark.parametrize("as_json", [False, True])
def test_a_dry_run_asked_for_by_the_environment_starts_nothing_by_run_either(
    as_json: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "state"
    root.mkdir(0o700)
    (root / "claude-bottle.json").write_text(json.dumps(MANIFEST))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("CLAUDE_BOTTLE_HOME", str(root))
    monkeypatch.setenv("CLAUDE_BOTTLE_DRY_RUN", "1")
    monkeypatch.chdir(tmp_path)
    options = start.Options("offline", args=("touch", "/workspace/ran"), yes=True, backend="bubblewrap")
    assert start.run_headless(options, json_result=as_json) == 0
    told = capsys.readouterr()
    assert (json.loads(told.out)["agent"] if as_json else told.out.split()[0]) == ("offline" if as_json else "bottle")
    assert ("dry-run requested" in told.err) is not as_json
    assert not (root / "state").exists()
