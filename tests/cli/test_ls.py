from __future__ import annotations

import json
from pathlib import Path

import pytest

from claude_bottle.cli import main
from claude_bottle.state import work_note
from claude_bottle.state.paths import Paths
from claude_bottle.state.record import PRESERVED, BottleRecord
from claude_bottle.state.store import Store


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.setenv("CLAUDE_BOTTLE_HOME", str(tmp_path / "state"))
    return Store(Paths.default())


def preserve(store: Store, identity: str, *reasons: str, status: str = PRESERVED) -> None:
    agent = identity.rpartition("-")[0]
    record = BottleRecord(
        identity=identity, agent=agent, harness="shell", backend="bubblewrap", status=status, plan_digest="7f3a91c2" * 8,
        created="2026-11-01T00:00:00Z", preserved=reasons,
    )  # fmt: skip
    store.create(record)


def test_preserved_bottles_are_listed_with_why_in_80_columns(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    preserve(store, "implementer-k3x9qa", "exit 137")
    assert main(["ls", "--all"]) == 0
    head, row = capsys.readouterr().out.splitlines()
    assert head.split() == ["IDENTITY", "AGENT", "STATE", "AGE", "PLAN", "WORK", "WHY", "KEPT"]
    assert "implementer-k3x9qa" in row
    assert "preserved" in row
    assert row.split()[-4:] == ["7f3a91c2", "–", "exit", "137"]
    assert head.index("STATE") == row.index("preserved")
    assert max(len(head), len(row)) <= 80


def test_work_that_nobody_has_got_is_listed_in_80_columns(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    preserve(store, "implementer-k3x9qa", "unexported work")
    work_note.save(store.paths.work_note("implementer-k3x9qa"), work_note.WorkNote(14, 0))
    main(["ls", "--all"])
    row = capsys.readouterr().out.splitlines()[1]
    assert "14 files" in row
    assert len(row) <= 80
    main(["ls", "--all", "--json"])
    assert json.loads(capsys.readouterr().out)["bottles"][0]["work"] == "14 files"


def test_what_does_not_run_is_listed_only_when_asked_for(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    preserve(store, "implementer-k3x9qa", "operator")
    main(["ls"])
    assert "--all" in capsys.readouterr().out
    main(["ls", "--json"])
    assert json.loads(capsys.readouterr().out) == {"bottles": []}


def test_json_holds_what_the_table_shows(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    preserve(store, "implementer-k3x9qa", "exit 3")
    main(["ls", "-a", "--json"])
    (row,) = json.loads(capsys.readouterr().out)["bottles"]
    assert (row["identity"], row["status"], row["preserved"]) == ("implementer-k3x9qa", "preserved", ["exit 3"])
    assert len(row["plan_digest"]) == 64


def test_a_long_identity_is_never_cut(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    identity = "an-agent-with-a-rather-long-name-k3x9qa"
    preserve(store, identity, "operator")
    main(["ls", "--all"])
    assert identity in capsys.readouterr().out


def test_damaged_state_is_listed_and_nothing_fails(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    preserve(store, "implementer-k3x9qa", "operator")
    store.paths.record("implementer-k3x9qa").write_bytes(b"\x1b[2Jnonsense")
    assert main(["ls", "--all"]) == 0
    shown = capsys.readouterr().out
    assert "implementer-k3x9qa" in shown
    assert "\x1b" not in shown
