"""What the host has changed below a running bottle's layer, as it was last looked: for `ls`, which reads little."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

from claude_bottle.errors import BottleError
from claude_bottle.state import files

if TYPE_CHECKING:
    from claude_bottle.state.paths import Paths

SCHEMA = 1
_LIMIT, _NAMED = 1 << 18, 20


def load(path: str) -> tuple[int, list[str]]:
    """How many paths, and the first of them; none where there is no note that can be read."""
    try:
        data = files.read_json(path, _LIMIT)
    except (FileNotFoundError, BottleError):
        return 0, []
    count, paths = data.get("count"), data.get("paths")
    if data.get("schema") != SCHEMA or type(count) is not int or not isinstance(paths, list):
        return 0, []
    return count, [path for path in paths if isinstance(path, str)]


def save(paths: Paths, identity: str, changed: list[str]) -> None:
    said = {"schema": SCHEMA, "count": len(changed), "paths": changed[:_NAMED]}
    files.write_atomic(paths.host_note(identity), json.dumps(said).encode())


def forget(paths: Paths, identity: str) -> None:
    try:
        os.unlink(paths.host_note(identity))
    except FileNotFoundError:
        pass
