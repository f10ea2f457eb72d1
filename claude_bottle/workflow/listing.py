"""What bottles there are, as plain rows. Reads records only: no backend, no keeper is asked, nothing heavy is loaded."""

from __future__ import annotations

import time

from claude_bottle.redact import printable
from claude_bottle.state.paths import Paths
from claude_bottle.state.record import INTERRUPTED, RUNNING, SETTLING, STARTING, BottleRecord, unix_time
from claude_bottle.state.store import Entry, Store

_LIVE = (STARTING, RUNNING, SETTLING)


def listing(*, everything: bool, paths: Paths | None = None) -> list[dict[str, object]]:
    """One row a bottle, oldest first; without `everything` only those that run. Texts are safe to print."""
    entries = Store(paths or Paths.default()).list()
    return [_row(entry) for entry in entries if everything or entry.status in _LIVE]


def _row(entry: Entry) -> dict[str, object]:
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
        "preserved": list(record.preserved),
        "why": _why(record, entry.status),
    }


def _why(record: BottleRecord, status: str) -> str:
    reasons = list(record.preserved) or ([INTERRUPTED] if status == INTERRUPTED else [])
    return printable(", ".join(reasons))


def _age(seconds: float) -> str:
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= size:
            return f"{int(seconds // size)} {unit}"
    return f"{max(int(seconds), 0)} s"
