"""The conversation of a bottle: from its home while that exists, else from the archive. Everything is sanitised."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from claude_bottle import harness as harnesses
from claude_bottle.errors import BottleError
from claude_bottle.model.names import check_identity
from claude_bottle.state import transcripts
from claude_bottle.state.paths import Paths
from claude_bottle.state.store import Store
from claude_bottle.state.transcript_text import turns_of


def turns(identity: str, paths: Paths | None = None) -> list[dict[str, Any]]:
    """Every turn as plain data, oldest first. BottleError when no conversation is known for the identity."""
    check_identity(identity)
    paths = paths or Paths.default()
    main = _main_file(paths, identity)
    if main is None:
        raise BottleError(f"no conversation of {identity}", why="nothing was said, or no such bottle ever ran",
                          do="claude-bottle ls --all lists bottles")  # fmt: skip
    return [turn._asdict() for turn in turns_of(main)]


def _main_file(paths: Paths, identity: str) -> Path | None:
    """The main transcript: archived first what the home has, so that only files of ours are read from here on."""
    record = Store(paths).find(identity)
    if record:
        found = harnesses.get(record.harness).transcript_files(paths.home(identity), record.session_id)
        transcripts.snapshot(paths, record, found)
    try:
        archive = transcripts.load(paths, identity)
    except BottleError:
        return None
    return archive.file_path(archive.files[0]) if archive.files else None


def as_text(found: list[dict[str, Any]]) -> str:
    """The conversation for a terminal."""
    lines: list[str] = []
    for turn in found:
        head = f"{turn.get('when', '')}  {turn.get('role', '')}".strip()
        if turn.get("tool"):
            head += f" · {turn['tool']}"
        lines += [head, *(f"    {line}" for line in str(turn.get("text", "")).split("\n")), ""]
    return "\n".join(lines).rstrip()
