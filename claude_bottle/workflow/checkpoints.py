"""Checkpoints as an operator uses them: take one, list them, go back to one. Going on elsewhere from one is `fork`."""

from __future__ import annotations

from claude_bottle import log
from claude_bottle.errors import BottleError, UsageError
from claude_bottle.keeper import checkpointing, restoring
from claude_bottle.keeper.client import Control
from claude_bottle.keeper.reaching import settled_or_running
from claude_bottle.keeper.settle import OPERATOR
from claude_bottle.model import events
from claude_bottle.model.names import check_identity
from claude_bottle.model.plan import Workspace
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

_BY = {checkpoints.OPERATOR: "you", checkpoints.REWIND: "rewind", checkpoints.FORK: "fork",
       checkpoints.TURN: "turn"}
_NAMED = 5


def checkpoint(
    identity: str, name: str = "", paths: Paths | None = None, *, made: str = checkpoints.OPERATOR
) -> Checkpoint:  # fmt: skip
    """Keep files and conversation of a bottle as they are now, whether it runs or not. BottleError when that could not be
    done whole."""
    check_identity(identity)
    paths = paths or Paths.default()
    if name:
        checkpoints.check_name(name)
    if alive(settled_or_running(paths, identity)):
        with Control(paths, identity) as control:
            return checkpoints.load(paths, identity, control.checkpoint(name, made))
    record = _at_rest(paths, identity)
    with IdentityLock(paths, identity).acquire():
        return _take(paths, record, name, made)


def listing(identity: str, paths: Paths | None = None) -> list[dict[str, object]]:
    """Its checkpoints as data, oldest first."""
    check_identity(identity)
    paths = paths or Paths.default()
    Store(paths).load(identity)
    return [{**one.to_dict(), "identity": identity} for one in checkpoints.known(paths, identity)]


def rewind(identity: str, name: str = "", paths: Paths | None = None) -> Checkpoint:
    """Go back to a checkpoint, the newest that an operator took if none is named; a bottle that runs goes on from there. What
    there was becomes a checkpoint itself, so nothing is lost."""
    check_identity(identity)
    paths = paths or Paths.default()
    running = alive(settled_or_running(paths, identity))
    to = wanted(paths, identity, name)
    if running:
        with Control(paths, identity) as control:
            kept = control.rewind(to.name)
    else:
        kept = _rewind_at_rest(paths, identity, to)
    on = "; it goes on from there" if running else ""
    log.say(f"{identity} is as it was at {to.name}{on}; what it was until now is kept as {kept}")
    return to


def _rewind_at_rest(paths: Paths, identity: str, to: Checkpoint) -> str:
    """What there was until now is kept under the name returned."""
    with IdentityLock(paths, identity).acquire():
        if restoring.under_way(paths, identity):
            restoring.decide(paths, identity, to)  # it stopped half-way to another one, and what it was is kept
    record = _at_rest(paths, identity)
    with IdentityLock(paths, identity).acquire():
        kept = _take(paths, record, "", checkpoints.REWIND)
        restoring.decide(paths, identity, to)
        _note(paths, identity, events.REWOUND, {"to": to.name, "kept": kept.name},
              preserved=tuple(dict.fromkeys((*record.preserved, OPERATOR))))  # fmt: skip
        restoring.complete(paths, identity)
    return kept.name


def wanted(paths: Paths, identity: str, name: str) -> Checkpoint:
    """The checkpoint of this name; with "" the newest that an operator took."""
    if name:
        return checkpoints.load(paths, identity, name)
    known = checkpoints.known(paths, identity)
    taken = [one for one in known if one.made == checkpoints.OPERATOR]
    if taken:
        return taken[-1]
    if known:
        names = ", ".join(one.name for one in reversed(known[-_NAMED:]))
        raise UsageError(f"which checkpoint of {identity}? You took none yourself", do=f"name one of: {names}")
    raise BottleError(f"{identity} has no checkpoint", do=f"claude-bottle checkpoint {identity}")


def as_text(rows: list[dict[str, object]]) -> str:
    """For a terminal: one line each."""
    if not rows:
        return "no checkpoints yet"
    width = max(12, *(len(str(row["name"])) + 2 for row in rows))
    lines = [f"{'CHECKPOINT':<{width}}{'TAKEN':<21}{'BY':<10}{'WORK':<9}CONVERSATION"]
    for row in rows:
        taken, by = str(row["created"])[:19].replace("T", " "), _BY[str(row["made"])]
        lines.append(f"{row['name']!s:<{width}}{taken:<21}{by:<10}{row['mode']!s:<9}{printable(str(row['session_id']))[:8]}")
    return "\n".join(lines)


def _at_rest(paths: Paths, identity: str) -> BottleRecord:
    """The record of a bottle that does not run, with all it left brought here."""
    former, _ = find(paths, identity)
    if former is None:
        raise BottleError(f"only the conversation of {identity} is left", do=f"claude-bottle resume {identity}")
    return former


def _take(paths: Paths, record: BottleRecord, name: str, why: str) -> Checkpoint:
    made = checkpointing.take(paths, record, _workspace(paths, record.identity), name, running=False, made=why)
    _note(paths, record.identity, events.CHECKPOINT, {"name": made.name, "session": made.session_id})
    return made


def _workspace(paths: Paths, identity: str) -> Workspace:
    said = read_json(paths.plan(identity), PLAN_LIMIT).get("workspace")
    work = said if isinstance(said, dict) else {}
    source = work.get("source")
    return Workspace(str(work.get("mode") or "none"), "", source if isinstance(source, str) else None)


def _note(paths: Paths, identity: str, kind: str, data: dict[str, object], **changes: object) -> None:
    """One line of the journal, and where that now ends (by which a change of it is told) with the record's other changes."""
    journal = Journal.open(paths, identity)
    try:
        journal.append(kind, durable=True, **data)
        head = journal.head
    finally:
        journal.close()
    Store(paths).update(identity, journal=head, **changes)


