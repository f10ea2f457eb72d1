"""The table of agent programs.

Each harness is one module with a `HARNESS` object; it is imported when asked for and not before. Adding one
means one new module and one line here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from claude_bottle.errors import BottleError

if TYPE_CHECKING:
    from claude_bottle.harness.base import Harness

TABLE = {
    "claude": "claude_bottle.harness.claude",
    "shell": "claude_bottle.harness.shell",
}


def get(name: str) -> Harness:
    """The harness called `name`. BottleError, listing the known ones, when there is none."""
    module = TABLE.get(name)
    if module is None:
        raise BottleError(f"unknown harness {name!r}", why=f"known harnesses: {', '.join(sorted(TABLE))}")
    from importlib import import_module

    harness: Harness = import_module(module).HARNESS
    return harness
