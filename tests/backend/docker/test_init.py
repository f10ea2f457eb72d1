"""The first process is for any image: old Python, no imports of ours but the files beside it."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

import claude_bottle.backend.docker as package

PLACE = Path(package.__file__).parent
SOURCES = [pytest.param((PLACE / name).read_text(), id=name) for name in ("init.py", "libc.py", "messages.py")]


@pytest.mark.parametrize("source", SOURCES)
def test_it_is_understood_by_the_oldest_python_an_image_may_have(source: str) -> None:
    ast.parse(source, feature_version=(3, 9))


@pytest.mark.parametrize("source", SOURCES)
def test_it_imports_only_the_standard_library_and_nothing_slow(source: str) -> None:
    modules = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            modules.add(str(node.module))
    ours = {"libc", "messages", "claude_bottle.backend.docker"}
    ours |= {f"claude_bottle.backend.docker.{name}" for name in ("libc", "messages")}
    assert modules <= sys.stdlib_module_names | {"__future__", "collections.abc"} | ours
    assert not modules & {"subprocess", "asyncio", "dataclasses"}
