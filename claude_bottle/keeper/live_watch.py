"""Tells while a bottle runs what changed in its live directory of what the host's git runs without being asked.

That is what an operator should know before the next `git status` there: the title of attached terminals and the journal say
it. The journal tells the other triggers, too; all of them are told at the end.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from claude_bottle.keeper import live_changes
from claude_bottle.keeper.looking import Looking
from claude_bottle.model import events

if TYPE_CHECKING:
    from collections.abc import Callable

    from claude_bottle.keeper.boot import Booted
    from claude_bottle.keeper.order import Order


class LiveWatch:
    """`stand` as for `host_watch.HostWatch`."""

    def __init__(self, order: Order, booted: Booted, note: live_changes.Note, stand: Callable[[str], None]) -> None:
        self._order, self._booted, self._note, self._stand = order, booted, note, stand
        self._known: set[str] = set()
        self._looking = Looking(booted, self._look, self._heard, "changes of what runs on the host could not be looked for")

    def finish(self) -> None:
        self._looking.finish()

    def _look(self) -> object:
        return live_changes.shortened(live_changes.changed(self._note))

    def _heard(self, seen: object) -> None:
        told = live_changes.understood(seen)
        new = {trigger: paths for trigger, all_of_it in told.items()
               if (paths := [one for one in all_of_it if one[0] not in self._known])}  # fmt: skip
        if new:
            self._booted.audit.record(events.LIVE_TRIGGERS, changed=live_changes.for_journal(new))
        self._known = {path for paths in told.values() for path, _ in paths}
        of_git = told.get(live_changes.REPOSITORY)
        self._stand(f"{self._order.identity}: look before you use git here: {live_changes.shown(of_git)}" if of_git else "")
