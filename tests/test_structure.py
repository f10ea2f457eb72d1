"""The shape of the tree, as docs/architecture.md and CONTRIBUTING.md promise it. Lists of exceptions may not be stale."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "claude_bottle"
MODULES = sorted(PACKAGE.rglob("*.py"))
LONGEST = 300
# Test directories that follow a theme instead of a package.
THEMES = {"attack", "cli", "conformance", "e2e", "golden"}
# A backend's name belongs to its own package; below it the manifest lists allowed words, the model reserved host names.
BELOW_OR_BACKENDS = ("backend", "manifest", "model")
BACKENDS = ("bubblewrap", "bwrap", "docker", "kubernetes")
HEAVY = {
    "asyncio", "cryptography", "dataclasses", "h11", "hashlib", "http", "inspect", "jsonschema", "msgspec",
    "multiprocessing", "rich", "select", "selectors", "setproctitle", "shtab", "socket", "ssl", "subprocess", "tempfile",
    "textual",
}  # fmt: skip


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def test_no_file_is_longer_than_300_lines() -> None:
    long = {name(path): count for path in MODULES if (count := len(path.read_text().splitlines())) > LONGEST}
    assert not long, "which concept in there wants a name of its own?"


def test_every_module_says_what_it_is_for() -> None:
    silent = [
        name(path) for path in MODULES if path.read_text().strip() and not ast.get_docstring(ast.parse(path.read_text()))
    ]
    assert not silent


def test_nothing_is_called_utils() -> None:
    vague = {"utils", "util", "helpers", "helper", "manager", "misc", "common"}
    assert not [name(path) for path in MODULES if path.stem in vague]


def test_test_directories_mirror_the_package() -> None:
    packages = {path.parent.relative_to(PACKAGE).as_posix() for path in MODULES}
    here = {path.parent.relative_to(ROOT / "tests").as_posix() for path in (ROOT / "tests").rglob("test_*.py")}
    assert not {place for place in here if place not in packages and place.split("/")[0] not in THEMES}


def test_every_package_has_tests() -> None:
    packages = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    assert not {package for package in packages if not list((ROOT / "tests" / package).glob("test_*.py"))}


def strings(tree: ast.AST) -> list[str]:
    """Every string of the code but docstrings, and every name it imports."""
    documentation = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef))
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in documentation:
            found.append(node.value)
        elif isinstance(node, ast.ImportFrom):
            found.append(node.module or "")
        elif isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
    return found


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_no_backend_is_named_outside_the_backends(path: Path) -> None:
    parts = path.relative_to(PACKAGE).parts
    # The suite that judges backends names them in its table of deviations, and what they might let through.
    if parts[0] in BELOW_OR_BACKENDS or parts[:2] == ("testing", "conformance"):
        return
    said = [text for text in strings(ast.parse(path.read_text())) if any(word in text.lower() for word in BACKENDS)]
    assert not said, "what differs between backends belongs behind the backend contract"


@pytest.mark.parametrize("words", [["ls"], ["ls", "--all", "--json"], ["--version"], ["--help"], ["start", "--help"]])
def test_a_quick_command_loads_nothing_heavy(words: list[str], tmp_path: Path) -> None:
    code = (
        "import sys, json; from claude_bottle.__main__ import main; code = main(sys.argv[1:]);"
        "print(json.dumps([code, sorted(sys.modules)]), file=sys.stderr)"
    )
    command = [sys.executable, "-I", "-c", code, *words]
    environment = {"CLAUDE_BOTTLE_HOME": str(tmp_path / "state"), "PATH": "/usr/bin:/bin"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    code_and_modules = json.loads(done.stderr.splitlines()[-1])
    assert code_and_modules[0] == 0
    assert not HEAVY & {module.split(".")[0] for module in code_and_modules[1]}
