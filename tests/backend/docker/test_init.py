"""The first process is one file for any image: old Python, no imports of ours, and it ends with its keeper."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import claude_bottle.backend.docker as package

SOURCE = Path(package.__file__).with_name("init.py").read_text()


def test_it_is_understood_by_the_oldest_python_an_image_may_have() -> None:
    ast.parse(SOURCE, feature_version=(3, 9))


def test_it_imports_only_the_standard_library_and_nothing_private_or_slow() -> None:
    modules = set()
    for node in ast.walk(ast.parse(SOURCE)):
        if isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            modules.add(str(node.module))
    assert modules <= sys.stdlib_module_names | {"__future__"}
    assert not modules & {"subprocess", "asyncio", "dataclasses", "_json", "_socket", "_signal"}
