"""Checkpoints as an operator uses them: take one, list them, go back to one. Going on elsewhere from one is `fork`."""

from __future__ import annotations

from claude_bottle import log
from claude_bottle.errors import BottleError
from claude_bottle.keeper import checkpointing, restoring
from claude_bottle.keeper.client import Control
from claude_bottle.keeper.settle import OPERATOR
from claude_bottle.model import events
from claude_bottle.model.names import check_identity
from claude_bottle.redact import printable
from claude_bottle.state import checkpoints
from claude_bottle.state.checkpoints import Checkpoint
from claude_bottle.state.files import read_json
from claude_bottle.state.journal import Journal
from claude_bottle.state.lock import IdentityLock
from claude_bottle.state.paths import Paths
from claude_bottle.state.record import BottleRecord
from claude_bottle.state.store import Store, alive
from claude_bottle.workflow.resume import PLAN_LIMIT, find

_BEFORE = "before-"


def checkpoint(identity: str, name: str = "", paths: Paths | None = None) -> Checkpoint:
    """Keep files and conversation of a bottle as they are now, whether it runs or not. BottleError when that could not be
    done whole."""
    check_identity(identity)
    paths = paths or Paths.default()
    if name:
        checkpoints.check_name(name)
    store = Store(paths)
    if alive(store.load(identity)):
        with Control(paths, identity) as control:
            made = control.checkpoint(name)
        return checkpoints.load(paths, identity, made)
    record = _at_rest(paths, identity)
    with IdentityLock(paths, identity).acquire():
        return _take(paths, record, name or checkpoints.next_name(paths, identity))


def listing(identity: str, paths: Paths | None = None) -> list[dict[str, object]]:
    """Its checkpoints as data, oldest first."""
    check_identity(identity)
    paths = paths or Paths.default()
    Store(paths).load(identity)
    return [{**one.to_dict(), "identity": identity} for one in checkpoints.known(paths, identity)]


def rewind(identity: str, name: str = "", paths: Paths | None = None) -> Checkpoint:
    """Go back to a checkpoint, the newest that an operator took if none is named. What there was becomes a checkpoint
    itself, so nothing is lost. BottleError while the bottle runs."""
    check_identity(identity)
    paths = paths or Paths.default()
    if alive(Store(paths).load(identity)):
        raise BottleError(f"{identity} is running", why="its agent works with these files",
                          do=f"claude-bottle stop --keep {identity}, then rewind it")  # fmt: skip
    record = _at_rest(paths, identity)
    with IdentityLock(paths, identity).acquire():
        to = _wanted(paths, identity, name)
        kept = _take(paths, record, _BEFORE + checkpoints.next_name(paths, identity))
        session = restoring.rewind(paths, identity, to)
        _note(paths, identity, events.REWOUND, {"to": to.name, "kept": kept.name}, session_id=session,
              preserved=tuple(dict.fromkeys((*record.preserved, OPERATOR))))  # fmt: skip
    log.say(f"{identity} is as it was at {to.name}; what it was until now is kept as {kept.name}")
    return to


def wanted(paths: Paths, identity: str, name: str) -> Checkpoint:
    """The checkpoint of this name; with "" the newest that an operator took."""
    return _wanted(paths, identity, name)


def as_text(rows: list[dict[str, object]]) -> str:
    """For a terminal: one line each."""
    name = max(20, *(len(str(row["name"])) + 2 for row in rows)) if rows else 20
    lines = [f"{'CHECKPOINT':<{name}}{'TAKEN':<21}{'WORK':<9}CONVERSATION"]
    for row in rows:
        taken = str(row["created"])[:19].replace("T", " ")
        lines.append(f"{row['name']!s:<{name}}{taken:<21}{row['mode']!s:<9}{printable(str(row['session_id']))}")
    return "\n".join(lines)


def _wanted(paths: Paths, identity: str, name: str) -> Checkpoint:
    if name:
        return checkpoints.load(paths, identity, name)
    taken = [one for one in checkpoints.known(paths, identity) if not one.name.startswith(_BEFORE)]
    if not taken:
        raise BottleError(f"{identity} has no checkpoint", do=f"claude-bottle checkpoint {identity}")
    return taken[-1]


def _at_rest(paths: Paths, identity: str) -> BottleRecord:
    """The record of a bottle that does not run, with all it left brought here."""
    former, _ = find(paths, identity)
    if former is None:
        raise BottleError(f"only the conversation of {identity} is left", do=f"claude-bottle resume {identity}")
    return former


def _take(paths: Paths, record: BottleRecord, name: str) -> Checkpoint:
    mode, source = _workspace(paths, record.identity)
    made = checkpointing.take(paths, record, mode, source, name, running=False)
    _note(paths, record.identity, events.CHECKPOINT, {"name": made.name, "session": made.session_id})
    return made


def _workspace(paths: Paths, identity: str) -> tuple[str, str | None]:
    said = read_json(paths.plan(identity), PLAN_LIMIT).get("workspace")
    work = said if isinstance(said, dict) else {}
    source = work.get("source")
    return str(work.get("mode") or "none"), source if isinstance(source, str) else None


def _note(paths: Paths, identity: str, kind: str, data: dict[str, object], **changes: object) -> None:
    """One line of the journal, and where that now ends (by which a change of it is told) with the record's other changes."""
    journal = Journal.open(paths, identity)
    try:
        journal.append(kind, durable=True, **data)
        head = journal.head
    finally:
        journal.close()
    Store(paths).update(identity, journal=head, **changes)


