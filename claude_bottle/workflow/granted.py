"""Every grant there is: of running bottles by their keepers, of kept ones from their state."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from claude_bottle import log
from claude_bottle.state.record import RUNNING
from claude_bottle.state.store import Store
from claude_bottle.workflow.asked import asked
from claude_bottle.workflow.kept_grants import kept_grants

if TYPE_CHECKING:
    from claude_bottle.state.paths import Paths


def granted(paths: Paths, identity: str | None = None, *, everything: bool = False) -> list[tuple[str, dict[str, Any]]]:
    """(identity, view), those in force first known first; with `everything` those that have ended, as far as they are
    remembered. BottleError for an identity that is unknown."""
    if identity is not None:
        Store(paths).load(identity)
    running = {entry.identity for entry in Store(paths).list() if entry.status == RUNNING}
    wanted = running if identity is None else running & {identity}
    found = []
    for one in (each for name in sorted(wanted) for each in asked(paths, name, everything=everything)):
        if one.problem:
            log.warn(one.problem.what)
        found += [(one.identity, view) for view in one.grants if everything or not view["ended"]]
    return found + kept_grants(paths, identity)
