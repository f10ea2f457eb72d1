"""scripts/new-backend, tried in a copy of the tree: what it makes keeps half of the contract, and starts nothing."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PARTS = ("claude_bottle", "tests", "scripts", "docs", "pyproject.toml")
NAME = "acme_box"


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("tree")
    for part in PARTS:
        if (ROOT / part).is_dir():
            shutil.copytree(ROOT / part, place / part, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / part, place / part)
    begun(place, NAME)
    return place


def begun(place: Path, name: str, code: int = 0) -> str:
    done = subprocess.run([str(place / "scripts" / "new-backend"), name], capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stderr
    return done.stdout + done.stderr


def run(place: Path, *words: str, **more: str) -> subprocess.CompletedProcess[str]:
    env = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}
    env |= {"PYTHONPATH": str(place), "PYTHONDONTWRITEBYTECODE": "1", **more}
    return subprocess.run([sys.executable, "-m", *words], cwd=place, env=env, capture_output=True, text=True, check=False)


def test_it_keeps_the_harmless_half_of_the_contract(copy: Path) -> None:
    done = run(copy, "pytest", "-q", "-p", "no:cacheprovider", "tests/conformance", "-k", NAME)
    assert done.returncode == 0, done.stdout[-3000:]
    assert " passed" in done.stdout and "skipped" not in done.stdout


def test_nothing_can_be_started_in_it(copy: Path, tmp_path: Path) -> None:
    home = {"CLAUDE_BOTTLE_HOME": str(tmp_path / "home")}
    agents = {"a": {"bottle": "b", "harness": "shell"}}
    manifest = {"version": 1, "bottles": {"b": {"backend": NAME}}, "agents": agents}
    (copy / "claude-bottle.json").write_text(json.dumps(manifest))
    done = run(copy, "claude_bottle", "run", "a", "--", "true", **home)
    assert (done.returncode, f"{NAME} protects nothing yet" in done.stderr) == (4, True), done.stderr
    shown = run(copy, "claude_bottle", "doctor", **home)
    assert f"backend {NAME}" in shown.stdout


def test_what_it_makes_is_in_our_style(copy: Path) -> None:
    done = run(copy, "ruff", "check", "--no-cache", "claude_bottle", "tests/test_structure.py")
    assert done.returncode == 0, done.stdout
    text = "\n".join(path.read_text() for path in (copy / "claude_bottle" / "backend" / NAME).glob("*.py"))
    assert "class AcmeBoxBackend(Backend)" in text and "fake" not in text.lower()
    assert f'"{NAME}"' in (copy / "tests" / "test_structure.py").read_text()


@pytest.mark.parametrize("name", ["docker", "fake", NAME, "auto", "base", "class", "Upper", "../x", "a-b", "1x", "tree", ""])
def test_a_name_that_cannot_be_one_changes_nothing(copy: Path, name: str) -> None:
    before = sorted(copy.rglob("*.py"))
    begun(copy, name, 2)
    assert sorted(copy.rglob("*.py")) == before


def test_a_table_that_is_not_as_it_was_stops_it_before_anything_is_written(copy: Path) -> None:
    table = copy / "claude_bottle" / "manifest" / "shape.py"
    text = table.read_text()
    table.write_text(text.replace('= "auto"', '= "any"'))
    try:
        assert "is not as this script knows it" in begun(copy, "other", 1)
        assert not (copy / "claude_bottle" / "backend" / "other").exists()
    finally:
        table.write_text(text)
