from __future__ import annotations

import json
from pathlib import Path

import pytest

from claude_bottle.cli import main


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CLAUDE_BOTTLE_HOME", str(tmp_path / "state"))
    return tmp_path / "state"


def test_text_and_json_say_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    code = main(["doctor", "--json"])
    report = json.loads(capsys.readouterr().out)
    assert main(["doctor"]) == code == (0 if report["ok"] else 4)
    lines = capsys.readouterr().out.splitlines()
    checks = [check for section in report["sections"] for check in section["checks"]]
    assert {check["state"] for check in checks} <= {"ok", "weaker", "missing", "absent"}
    for check in checks:
        assert any(check["name"] in line for line in lines)
        # A fix is a command to copy, so it stands whole on lines of its own.
        assert all(any(line.endswith(f"do  {part}") for line in lines) for part in check["fix"].splitlines())


def test_looking_makes_nothing(home: Path) -> None:
    main(["doctor"])
    assert not home.exists()


def test_a_missing_piece_ends_with_4_and_the_exact_fix(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    home.mkdir()
    home.chmod(0o777)
    assert main(["doctor"]) == 4
    shown = capsys.readouterr().out
    assert "NO    state root" in shown
    assert f"chmod go-rwx {home}" in shown
