"""The linters are tests, so that one command and one summary say whether the tree is well."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
BIN = Path(sys.executable).parent
COMMANDS = {
    "ruff": [str(BIN / "ruff"), "check", "--output-format", "concise", "."],
    "mypy": [str(BIN / "mypy")],
    "import-linter": [str(BIN / "lint-imports")],
    "deptry": [str(BIN / "deptry"), "."],
}


@pytest.mark.parametrize("linter", COMMANDS)
def test_the_tree_is_clean(linter: str) -> None:
    done = subprocess.run(COMMANDS[linter], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
