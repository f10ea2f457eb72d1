"""The agent's work on its way out: `diff`, `apply`, `export` and `pull`. What is shown, judged and carried over is the same.

A bottle that has ended is locked meanwhile. Of a running one the changes are first copied out: from this host's disk, through
what its keeper holds open of its volume, or as its engine streams it. Nothing inside is asked.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from claude_bottle.backend import get_bottle_backend
from claude_bottle.errors import BottleError, UsageError
from claude_bottle.keeper import restoring
from claude_bottle.keeper.client import Control
from claude_bottle.keeper.interrupted import settle_interrupted
from claude_bottle.keeper.reaching import settled_or_running
from claude_bottle.keeper.settle import AWAY, WORK
from claude_bottle.model.names import check_identity
from claude_bottle.state.lock import IdentityLock
from claude_bottle.state.paths import Paths
from claude_bottle.state.record import INTERRUPTED, RUNNING, BottleRecord, effective_status
from claude_bottle.state.store import Store
from claude_bottle.state.temporary import temporary_directory
from claude_bottle.workspace import apply as applying
from claude_bottle.workspace import opening, taken
from claude_bottle.workspace.compare import Comparison, Lines
from claude_bottle.workspace.directory import Directory
from claude_bottle.workspace.landing import SAME, Landing, Step, included
from claude_bottle.workspace.quarantine import Quarantine, quarantine
from claude_bottle.workspace.review import review
from claude_bottle.workspace.triggers import NAMES
from claude_bottle.workspace.work import Change, Work


class Opened(NamedTuple):
    """A bottle's work, looked at by us alone. `live`: it runs on meanwhile."""

    paths: Paths
    identity: str
    work: Work
    live: bool


@contextmanager
def opened(identity: str, paths: Paths | None = None) -> Iterator[Opened]:
    """BottleError for a bottle that has no work, or whose work is not here now."""
    check_identity(identity)
    paths = paths or Paths.default()
    record = settled_or_running(paths, identity)
    if effective_status(record) == INTERRUPTED:
        record = settle_interrupted(paths, identity)
    status = effective_status(record)
    with ExitStack() as stack:
        if status == RUNNING:
            files = _where(paths, record, stack)
            work = stack.enter_context(opening.opened_work(paths, identity, files))
            from claude_bottle.workspace.captured import CapturedWork

            captured = CapturedWork(work, stack.enter_context(temporary_directory()) / "work")
            stack.callback(captured.close)
            yield Opened(paths, identity, captured, True)
            return
        stack.enter_context(IdentityLock(paths, identity))
        restoring.complete(paths, identity)
        if AWAY in record.preserved:
            # What lies here is what it began with, if that: compared, it would look like work that is done.
            raise BottleError(f"the work of {identity} still lies where it ran", why=AWAY,
                              do=f"claude-bottle resume {identity}   tries again; its warnings say what failed")  # fmt: skip
        yield Opened(paths, identity, stack.enter_context(opening.opened_work(paths, identity)), False)


def _where(paths: Paths, record: BottleRecord, stack: ExitStack) -> Path | int | None:
    """Where the files of a running bottle are, for `opening.opened_work`: what its keeper holds open of them, else a copy."""
    backend, identity = get_bottle_backend(record.backend), record.identity
    if backend.files_are_here or not opening.has_work(paths, identity) or opening.is_in_layers(paths, identity):
        return None
    with Control(paths, identity) as control:
        fd = control.work()
    if fd is not None:
        stack.callback(os.close, fd)
        return fd
    place = stack.enter_context(temporary_directory()) / "fetched"
    place.mkdir(mode=0o700)
    backend.fetch_work(identity, place)
    return place


class Seen(NamedTuple):
    """What `diff` shows: the review, and the patches of what runs later and of the rest."""

    review: dict[str, Any]
    patches: tuple[bytes, ...]


def diff(
    identity: str, *, globs: Sequence[str] = (), patch: bool = True, binary: bool = False, paths: Paths | None = None
) -> Seen:
    """What the bottle changed, and how it would land."""
    with opened(identity, paths) as bottle, quarantine() as place, _host(bottle.work) as host:
        changes = included(bottle.work.changes(), globs)
        steps = Landing(bottle.work, host, place).steps(changes)
        found, comparisons = _reviewed(bottle, host, place, steps)
        if not patch:
            return Seen(found, ())
        return Seen(found, tuple(filter(None, (one.patch(binary=binary) for one in comparisons))))


def _reviewed(
    bottle: Opened, host: Directory, place: Quarantine, steps: Sequence[Step]
) -> tuple[dict[str, Any], list[Comparison]]:
    """The review, and what it was made from: what runs later, then the rest."""
    later, rest = ([step.change for step in steps if bool(step.triggers) is runs] for runs in (True, False))
    parts = (("later", later), ("rest", rest))
    comparisons = [Comparison(place, bottle.work, changes, name) for name, changes in parts if changes]
    lines: dict[str, Lines] = {}
    unshown: dict[str, str] = {}
    for one in comparisons:
        lines |= one.lines()
        unshown |= one.unshown
    return review(bottle.identity, bottle.work, host, steps, lines, unshown), comparisons


class Applied(NamedTuple):
    """What `apply` did: the review of what it looked at, what came of each path, and what the operator has not got still."""

    review: dict[str, Any]
    outcomes: list[applying.Outcome]
    left: str
    dry_run: bool

    def to_dict(self) -> dict[str, Any]:
        return {**self.review, "dry_run": self.dry_run, "outcomes": [outcome._asdict() for outcome in self.outcomes],
                "left": self.left}  # fmt: skip


def apply(
    identity: str, *, globs: Sequence[str] = (), allow: Sequence[str] = (),
    on_conflict: str = applying.KEEP, dry_run: bool = False,
) -> Applied:  # fmt: skip
    """Carry the work into the operator's directory; what needs a word and has none, or conflicts, stays out and is told."""
    allowed = _allowed(allow)
    with opened(identity) as bottle, quarantine() as place, _host(bottle.work) as host:
        everything = bottle.work.changes()
        steps = Landing(bottle.work, host, place).steps(included(everything, globs))
        found, _ = _reviewed(bottle, host, place, steps)
        outcomes = applying.apply(bottle.work, host, steps, allowed=allowed, on_conflict=on_conflict, dry_run=dry_run)
        if dry_run:
            return Applied(found, outcomes, "", True)
        done = {outcome.path for outcome in outcomes
                if outcome.done in (applying.APPLIED, applying.MERGED, applying.MARKED, SAME)}  # fmt: skip
        got = [taken.digest(bottle.work, step.change) for step in steps if step.change.path in done]
        _journal(bottle, "apply", paths=len(done), of=len(outcomes), allowed=sorted(allowed))
        return Applied(found, outcomes, _judged(bottle, everything, [*got, *_history(bottle.work, everything, done)]), False)


def _history(work: Work, everything: Sequence[Change], done: set[str]) -> list[str]:
    """The commit that is checked out has gone over with its files, if all of them have. Other branches have not."""
    from claude_bottle.workspace.refs import read

    if any(change.path not in done for change in everything):
        return []
    now = read(work.whole)
    return [taken.ref_digest(name, now) for name in now.moved(work.refs) if name in (now.head, "HEAD")]


def _allowed(names: Sequence[str]) -> frozenset[str]:
    chosen = frozenset(part for name in names for part in name.split(",") if part)
    if unknown := sorted(chosen - set(NAMES)):
        raise UsageError(f"no trigger is called {unknown[0]!r}", do=f"one of: {', '.join(NAMES)}")
    return chosen


@contextmanager
def _host(work: Work) -> Iterator[Directory]:
    if not work.source.is_dir():
        raise BottleError(f"{work.source} is gone", why="the work was made from it",
                          do="claude-bottle export puts the work anywhere else")  # fmt: skip
    with Directory(work.source) as host:
        yield host


def _judged(bottle: Opened, changes: Sequence[Change], got: Sequence[str]) -> str:
    """What is left, in words ("" for nothing); noted, so that nothing is called unexported that is not. The changes of a
    running bottle are those of the moment they were copied out."""
    left = opening.judge(bottle.paths, bottle.identity, bottle.work, got, changes)
    if not left and not bottle.live:
        store = Store(bottle.paths)
        reasons = store.load(bottle.identity).preserved
        if WORK in reasons:
            store.update(bottle.identity, preserved=tuple(reason for reason in reasons if reason != WORK))
    return left.note.text


def _journal(bottle: Opened, how: str, **data: object) -> None:
    """Record what was taken. A running bottle's journal is its keeper's."""
    if bottle.live:
        return
    from claude_bottle.model.events import CARRIED_OVER
    from claude_bottle.state.journal import Journal

    journal = Journal.open(bottle.paths, bottle.identity)
    try:
        journal.append(CARRIED_OVER, durable=True, how=how, **data)
        Store(bottle.paths).update(bottle.identity, journal=journal.head)
    finally:
        journal.close()


class Exported(NamedTuple):
    directory: Path
    files: int
    size: int
    notes: list[str]
    triggers: dict[str, list[dict[str, str]]]
    left: str

    def to_dict(self) -> dict[str, Any]:
        return {**self._asdict(), "directory": str(self.directory)}


def export(identity: str, directory: str) -> Exported:
    """Copy the whole work into a fresh directory: plain data, nothing of git's, nothing that leads out of it."""
    from claude_bottle.workspace.export import Export, fresh_directory
    from claude_bottle.workspace.triggers import judge
    from claude_bottle.workspace.work import KEEP, PRUNE, in_repository

    with opened(identity) as bottle:
        target = Path(os.path.abspath(directory))
        changes = bottle.work.changes()
        fd = fresh_directory(target)
        try:
            copying = Export(bottle.work.whole)
            copying.run(bottle.work.whole.walk(lambda path, _: PRUNE if in_repository(path) else KEEP), fd)
        finally:
            os.close(fd)
        triggers: dict[str, list[dict[str, str]]] = {}
        for change in changes:
            for trigger in judge(change, None, None):
                triggers.setdefault(trigger.name, []).append({"path": change.path, "why": trigger.why})
        # Of a running bottle something else may have been copied than what is judged here.
        got = [] if bottle.live else [taken.digest(bottle.work, one) for one in changes if one.path not in copying.left]
        notes = [*bottle.work.result.notes, *copying.notes]
        _journal(bottle, "export", to=str(target), files=copying.copied, bytes=copying.size)
        return Exported(target, copying.copied, copying.size, notes, triggers, _judged(bottle, changes, got))


def pull(identity: str, *, force: bool = False) -> dict[str, Any]:
    """Bring the bottle's commits into the operator's repository, as the branch `bottle/<identity>`."""
    from claude_bottle.workspace.host_repository import HostRepository
    from claude_bottle.workspace.pull import pull as pulling
    from claude_bottle.workspace.refs import read

    with opened(identity) as bottle, quarantine() as place:
        repository = HostRepository(bottle.work.source)
        now = read(bottle.work.whole)
        pulled = pulling(place, bottle.work.whole, bottle.work.refs, repository, identity, force=force)
        changes = bottle.work.changes()
        got = [taken.digest(bottle.work, change) for change in changes if taken.in_commit(bottle.work, change, pulled.files)]
        got += [taken.ref_digest(name, now) for name in pulled.branches]
        _journal(bottle, "pull", branches=sorted(pulled.branches.values()), commits=pulled.commits)
        return {"identity": identity, "branches": pulled.branches, "commits": pulled.commits,
                "left": _judged(bottle, changes, got)}  # fmt: skip
