"""What a bottle has spent of its budget, kept over its runs: one small file beside its record.

Written by its keeper while it runs, read at the next resume. A file that makes no sense is refused, never taken for nothing
spent.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from claude_bottle.state.damage import damaged
from claude_bottle.state.files import read_json, write_atomic

if TYPE_CHECKING:
    from claude_bottle.state.paths import Paths

SCHEMA = 1
_LIMIT = 4096


def note_spent(paths: Paths, identity: str, egress_bytes: int) -> None:
    """BottleError when it cannot be written."""
    write_atomic(paths.spent(identity), json.dumps({"schema": SCHEMA, "egress_bytes": egress_bytes}).encode())


def read_spent(paths: Paths, identity: str) -> int:
    """Bytes sent by earlier runs, 0 for a bottle that has not run. Damaged when the file cannot be understood."""
    try:
        said = read_json(paths.spent(identity), _LIMIT)
    except FileNotFoundError:
        return 0
    count = said.get("egress_bytes")
    if said.get("schema") != SCHEMA or type(count) is not int or count < 0:
        raise damaged(paths.spent(identity), "it does not say what was spent")
    return count
