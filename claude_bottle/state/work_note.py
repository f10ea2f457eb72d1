"""How much of a bottle's work the operator has not got, as it was last judged: for `ls`, which reads little."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from claude_bottle.errors import BottleError
from claude_bottle.state import files

UNEXPORTED = "unexported work"  # the reason to keep a bottle (contract §2)
SCHEMA = 1
_LIMIT = 1 << 16


class WorkNote(NamedTuple):
    """Changed files and commits that were neither applied nor exported nor pulled."""

    files: int = 0
    commits: int = 0

    @property
    def text(self) -> str:
        """`14 files, 2 commits`; "" for nothing."""
        counts = ((self.files, "file"), (self.commits, "commit"))
        return ", ".join(f"{count} {word}{'s' if count != 1 else ''}" for count, word in counts if count)


def load(path: Path | str) -> WorkNote | None:
    """The note; None where there is none that can be read."""
    try:
        data = files.read_json(path, _LIMIT)
    except (FileNotFoundError, BottleError):
        return None
    counts = data.get("files"), data.get("commits")
    if data.get("schema") != SCHEMA or not all(type(count) is int for count in counts):
        return None
    return WorkNote(*counts)  # type: ignore[arg-type]  # just checked


def save(path: Path, note: WorkNote) -> None:
    import json

    files.write_atomic(path, json.dumps({"schema": SCHEMA, **note._asdict()}).encode())
