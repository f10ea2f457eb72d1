"""What bottles there are, as plain rows. Reads records only: no backend, no keeper is asked, nothing heavy is loaded."""

from __future__ import annotations

import time

from claude_bottle.redact import printable
from claude_bottle.state import work_note
from claude_bottle.state.paths import Paths
from claude_bottle.state.record import INTERRUPTED, RUNNING, SETTLING, STARTING, BottleRecord, unix_time
from claude_bottle.state.store import Entry, Store

_LIVE = (STARTING, RUNNING, SETTLING)


def listing(*, everything: bool, paths: Paths | None = None) -> list[dict[str, object]]:
    """One row a bottle, oldest first; without `everything` only those that run. Texts are safe to print."""
    paths = paths or Paths.default()
    return [_row(entry, paths) for entry in Store(paths).list() if everything or entry.status in _LIVE]


def _row(entry: Entry, paths: Paths) -> dict[str, object]:
    row: dict[str, object] = {"identity": entry.identity, "status": entry.status}
    record = entry.record
    if record is None:
        problem = entry.problem
        return row | {"agent": "", "why": printable(f"{problem.what}: {problem.do}") if problem else ""}
    created = unix_time(record.created)
    return row | {
        "agent": record.agent,
        "harness": record.harness,
        "backend": record.backend,
        "created": record.created,
        "age": _age(time.time() - created) if created is not None else "",
        "plan": record.plan_digest[:8],
        "plan_digest": record.plan_digest,
        "exit_code": record.exit_code,
        "session_id": record.session_id,
        "cwd": printable(record.cwd),
        "work": "" if entry.status in _LIVE else _work(paths, entry.identity),
        "preserved": list(record.preserved),
        "why": _why(record, entry.status),
    }


def _work(paths: Paths, identity: str) -> str:
    """What of its work the operator has not got, as it was last judged."""
    note = work_note.load(paths.work_note_text(identity))
    return note.text if note else ""


def _why(record: BottleRecord, status: str) -> str:
    reasons = list(record.preserved) or ([INTERRUPTED] if status == INTERRUPTED else [])
    return printable(", ".join(reasons))


def _age(seconds: float) -> str:
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= size:
            return f"{int(seconds // size)} {unit}"
    return f"{max(int(seconds), 0)} s"
