"""What a bottle has spent, kept over its runs: one small file beside its record.

Written by its keeper while it runs, read at the next resume and by lists. A file that makes no sense is refused, never
taken for nothing spent.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, NamedTuple

from claude_bottle.state.damage import damaged
from claude_bottle.state.files import read_json, write_atomic

if TYPE_CHECKING:
    from claude_bottle.state.paths import Paths

SCHEMA = 1
_LIMIT = 4096


class Spent(NamedTuple):
    """Bytes sent where they are bounded, and money at the model's API in millionths of a dollar."""

    egress_bytes: int = 0
    money: int = 0


def note_spent(paths: Paths, identity: str, spent: Spent) -> None:
    """BottleError when it cannot be written."""
    write_atomic(paths.spent(identity), json.dumps({"schema": SCHEMA, **spent._asdict()}).encode())


def read_spent(paths: Paths, identity: str) -> Spent:
    """By earlier runs and this one, nothing for a bottle that has not run. Damaged when the file cannot be understood."""
    try:
        said = read_json(paths.spent(identity), _LIMIT)
    except FileNotFoundError:
        return Spent()
    found = Spent(said.get("egress_bytes"), said.get("money", 0))  # type: ignore[arg-type]  # looked at just below
    if said.get("schema") != SCHEMA or any(type(count) is not int or count < 0 for count in found):
        raise damaged(paths.spent(identity), "it does not say what was spent")
    return found
