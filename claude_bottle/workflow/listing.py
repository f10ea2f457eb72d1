"""What bottles there are, as plain rows. Reads records only: no backend, no keeper is asked, nothing heavy is loaded."""

from __future__ import annotations

import os
import time

from claude_bottle.errors import BottleError
from claude_bottle.redact import printable
from claude_bottle.state import host_note, work_note
from claude_bottle.state.paths import Paths
from claude_bottle.state.record import INTERRUPTED, RUNNING, SETTLING, STARTING, BottleRecord, unix_time
from claude_bottle.state.store import Entry, Store

_LIVE = (STARTING, RUNNING, SETTLING)
_REQUESTS_LIMIT = 16 << 20
SUBMITTED, APPROVED = "submitted", "approved"  # as in model.requests, which loads more than `ls` may


def listing(*, everything: bool, paths: Paths | None = None) -> list[dict[str, object]]:
    """One row a bottle, oldest first; without `everything` only those that run. Texts are safe to print."""
    paths = paths or Paths.default()
    entries = Store(paths).list()
    rows = [_row(entry, paths) for entry in entries if everything or entry.status in _LIVE]
    return [row | _now(paths, str(row["identity"])) if row["status"] == RUNNING else row for row in rows]


def _now(paths: Paths, identity: str) -> dict[str, object]:
    """What a running one says of itself beside its record: `host_edits` counts paths that were changed below its layer."""
    return {"waiting": _waiting(paths, identity), "host_edits": host_note.load(paths.host_note_text(identity))[0]}


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
        **_spent(paths, entry.identity),
        "work": "" if entry.status in _LIVE else _work(paths, entry.identity),
        "preserved": list(record.preserved),
        "why": _why(record, entry.status),
    }


def _waiting(paths: Paths, identity: str) -> str:
    """What its agent waits for, "" for nothing: from the state file alone, whose keeper may be busy."""
    from claude_bottle.state import files
    from claude_bottle.supervise.summary import summary

    try:
        found = files.read_json(paths.requests_text(identity), _REQUESTS_LIMIT).get("requests")
    except FileNotFoundError:
        return ""
    except (BottleError, OSError):
        return "! unreadable"
    requests = found if isinstance(found, list) else []
    waiting = [one for one in requests if isinstance(one, dict) and one.get("state") == SUBMITTED]
    more = f" (+{len(waiting) - 1})" if len(waiting) > 1 else ""
    if waiting:
        return f"! {summary(waiting[-1].get('change'))}{more}"
    built = [change for one in requests if isinstance(one, dict) and one.get("state") == APPROVED
             and isinstance(change := one.get("change"), dict) and change.get("kind") == "capability"]  # fmt: skip
    return f"building {summary(built[0])}" if built else ""


def _spent(paths: Paths, identity: str) -> dict[str, object]:
    """At its model's API, as its gate counted: in words ("" where nothing was), and in millionths of a dollar."""
    if not os.path.lexists(paths.spent_text(identity)):
        return {"spent": "", "usd_micros": 0}
    from claude_bottle.model.prices import dollars
    from claude_bottle.state.spent import read_spent

    try:
        money = read_spent(paths, identity).money
    except (BottleError, OSError):
        return {"spent": "?", "usd_micros": None}
    return {"spent": dollars(money) if money else "", "usd_micros": money}


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
