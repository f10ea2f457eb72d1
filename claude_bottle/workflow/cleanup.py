"""Remove preserved state and leftovers. Conversations stay archived; whatever runs is refused, never touched."""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Mapping, Sequence

from claude_bottle import log
from claude_bottle.backend.registry import TABLE, get_bottle_backend
from claude_bottle.errors import BottleError, UsageError
from claude_bottle.keeper import live_work
from claude_bottle.keeper.interrupted import settle_interrupted
from claude_bottle.keeper.reaching import let_settle
from claude_bottle.model.names import check_identity
from claude_bottle.state import damage, temporary, work_note
from claude_bottle.state.lock import IdentityLock
from claude_bottle.state.paths import Paths
from claude_bottle.state.record import INTERRUPTED, RUNNING, SETTLING, STARTING, unix_time
from claude_bottle.state.store import Entry, Store, still_running
from claude_bottle.workflow.terminal import ask

_LIVE = (STARTING, RUNNING, SETTLING)
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}


def cleanup(
    identities: Sequence[str], *, everything: bool, older_than: str | None, yes: bool, paths: Paths | None = None
) -> int:
    """Remove the named bottles, or all that do not run; without a word of which, those that ended longer ago than the
    operator's `retention_days`. Asks first unless `yes`. Returns the exit code."""
    paths = paths or Paths.default()
    if not identities and not everything and older_than is None:
        older_than = _retention(paths)
    if bool(identities) == (everything or older_than is not None):
        raise UsageError("name the bottles to remove, or say --all (and --older-than)",
                         do="claude-bottle ls --all lists them")  # fmt: skip
    store = Store(paths)
    store.sweep()
    temporary.sweep()
    chosen = _named(store, identities) if identities else _matching(store, older_than)
    whole_place = everything and older_than is None
    orphans = _orphans(store) if whole_place else {}
    if not chosen and not orphans:
        if not (whole_place and _remove_layers()):
            log.say("nothing to remove")
        return 0
    if not yes and not _agreed(chosen, orphans, paths):
        log.say("nothing removed")
        return 0
    whole = True
    for entry in chosen:
        whole &= _removed(store, entry, alone=len(chosen) == 1)
    for identity, backend in orphans.items():
        whole &= _remove_objects(backend, identity)
    if whole_place:
        _remove_layers()
    return 0 if whole else 1


def _remove_layers() -> bool:
    """Those that no bottle needs any more, which can be built again; whether there were any."""
    from claude_bottle.workflow import images

    try:
        gone = images.prune_layers()
    except BottleError as problem:
        log.warn(f"layers stay: {problem.what}: {problem.why}")
        return False
    if gone:
        log.say(f"removed {len(gone)} unused layer{'s' if len(gone) != 1 else ''}")
    return bool(gone)


def _retention(paths: Paths) -> str | None:
    from claude_bottle.state.config import Settings

    days = Settings.load(paths).retention_days
    return f"{days}d" if days else None


def _lost(entry: Entry, paths: Paths) -> str:
    """What of its work nobody has got, and would be gone."""
    note = work_note.load(paths.work_note(entry.identity))
    return f"  its work is lost: {note.text} never applied or exported" if note and note.text else ""


def _agreed(chosen: Sequence[Entry], orphans: Mapping[str, str], paths: Paths) -> bool:
    for entry in chosen:
        print(f"  {entry.identity}  {entry.status}{_lost(entry, paths)}", file=sys.stderr)
    for identity, backend in orphans.items():
        print(f"  {identity}  left over on {backend}", file=sys.stderr)
    count = len(chosen) + len(orphans)
    return ask(f"remove {count} bottle{'s' if count != 1 else ''} for good? [y/N] ")


def _removed(store: Store, entry: Entry, *, alone: bool) -> bool:
    """One that cannot be removed (it has just been resumed, say) keeps none of the others."""
    try:
        return _remove(store, entry)
    except BottleError as problem:
        if alone:
            raise
        log.warn(f"{entry.identity} stays: {problem.what}")
        return False


def _remove(store: Store, entry: Entry) -> bool:
    """Its conversation is archived from its home, so what lies elsewhere is brought home first, where that can be."""
    if entry.record is not None and entry.status == INTERRUPTED:
        try:
            settle_interrupted(store.paths, entry.identity)
        except BottleError as problem:
            log.warn(f"{entry.identity}: {problem.what}: {problem.why}")
    backends = [entry.record.backend] if entry.record else sorted(TABLE)
    if os.path.lexists(store.paths.held(entry.identity)):
        _leave_live_work(store.paths, entry.identity, entry.record.backend if entry.record else None)
    lost = _lost(entry, store.paths)
    store.cleanup(entry.identity)
    log.say(f"removed {entry.identity}{lost.replace(' is lost', ' went with it')}")
    whole = True
    for name in backends:
        whole &= _remove_objects(name, entry.identity)
    return whole


def _leave_live_work(paths: Paths, identity: str, backend: str | None) -> None:
    """What still holds places in the operator's directory is known by this state alone, and taken away once nothing of the
    bottle can run. BottleError where its backend cannot tell: it stays then."""
    try:
        with IdentityLock(paths, identity).acquire():
            if backend:
                get_bottle_backend(backend).remove(identity)
            live_work.let_go(paths, identity)
    except damage.Damaged as problem:
        log.warn(f"{identity}: {problem.what}: {problem.why}")


def _remove_objects(backend: str, identity: str) -> bool:
    """Whatever its backend holds of it. What cannot be removed now is found again by `cleanup --all`."""
    try:
        get_bottle_backend(backend).remove(identity)
    except BottleError as problem:
        log.warn(f"what {identity} left on {backend} stays: {problem.what}; claude-bottle cleanup --all removes it later")
        return False
    return True


def _orphans(store: Store) -> dict[str, str]:
    """Identity → backend of what lies in a backend although its state is gone."""
    known = set(store.identities())
    return {identity: name for name in sorted(TABLE) for identity in get_bottle_backend(name).leftovers()
            if identity not in known}  # fmt: skip


def _named(store: Store, identities: Sequence[str]) -> list[Entry]:
    """One that is just being settled is waited for, and may be gone by that."""
    known, settled = {entry.identity: entry for entry in store.list()}, False
    for identity in identities:
        check_identity(identity)
        if identity not in known:
            raise BottleError(f"no bottle called {identity}", do="claude-bottle ls --all lists them")
        if known[identity].status == SETTLING:
            let_settle(store.paths, identity)
            settled = True
        elif known[identity].status in _LIVE:
            raise still_running(identity)
    if settled:
        known = {entry.identity: entry for entry in store.list()}
    return [known[identity] for identity in dict.fromkeys(identities) if identity in known]


def _matching(store: Store, older_than: str | None) -> list[Entry]:
    limit = time.time() - _seconds(older_than) if older_than is not None else None
    return [entry for entry in store.list() if entry.status not in _LIVE and (limit is None or _ended(entry) < limit)]


def _ended(entry: Entry) -> float:
    """When it ended; what cannot be read counts as just now, so that an age never removes damaged state."""
    if entry.record is None:
        return time.time()
    return unix_time(entry.record.ended or entry.record.created) or time.time()


def _seconds(text: str) -> int:
    match = re.fullmatch(r"([0-9]{1,6})([smhdw])", text)
    if not match:
        raise UsageError(f"{text!r} is not an age", do="write for example 12h, 30d or 4w")
    return int(match.group(1)) * _UNITS[match.group(2)]
