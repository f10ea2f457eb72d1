"""The grants of bottles that do not run: what their next resume begins with, listed and revoked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from claude_bottle.errors import BottleError
from claude_bottle.keeper import inbox_file
from claude_bottle.keeper.leases import Leases
from claude_bottle.model import events
from claude_bottle.model.requests import UNTIL
from claude_bottle.redact import printable
from claude_bottle.state.journal import Journal
from claude_bottle.state.lock import IdentityLock
from claude_bottle.state.store import Store, alive
from claude_bottle.supervise.inbox import lasting
from claude_bottle.supervise.render import grant_view

if TYPE_CHECKING:
    from claude_bottle.state.paths import Paths
    from claude_bottle.supervise.inbox import Inbox


def kept_grants(paths: Paths, identity: str | None = None) -> list[tuple[str, dict[str, Any]]]:
    """(identity, view) of every lasting grant of bottles that are kept."""
    found = []
    for entry in Store(paths).list():
        if entry.record and not alive(entry.record) and identity in (None, entry.identity):
            inbox = _inbox(paths, entry.identity)
            found += [(entry.identity, grant_view(one)) for one in (inbox.in_force if inbox else ()) if lasting(one)]
    return found


def revoke_kept(paths: Paths, grant: str) -> tuple[str, dict[str, Any]]:
    """End it before its bottle is resumed. BottleError when no bottle has it, or when the bottle is just being resumed."""
    found = next((identity for identity, view in kept_grants(paths) if view["id"] == grant), None)
    if found is None:
        raise BottleError(f"no grant {printable(grant, width=40)} is in force", do="claude-bottle grants lists them")
    store = Store(paths)
    with IdentityLock(paths, found).acquire():
        loaded = inbox_file.load(paths, found)
        if loaded is None or alive(store.load(found)):
            raise BottleError(f"{found} has been changed meanwhile", do="try again")
        after = loaded[0].end_grants({grant: "revoked by the operator"})
        leases = Leases()
        leases.carry([one for one in after.in_force if one.scope == UNTIL], loaded[1])
        inbox_file.save(paths, after, leases)
        journal = Journal.open(paths, found)
        try:
            journal.append(events.GRANT_ENDED, durable=True, grant=grant, why="revoked by the operator")
            store.update(found, journal=journal.head)
        finally:
            journal.close()
    ended = after.grant(grant)
    return found, grant_view(ended) if ended else {}


def _inbox(paths: Paths, identity: str) -> Inbox | None:
    try:
        loaded = inbox_file.load(paths, identity)
    except BottleError:
        return None  # its resume says what is wrong with it
    return loaded[0] if loaded else None
