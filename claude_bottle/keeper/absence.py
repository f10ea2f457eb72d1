"""Why a bottle's keeper is not to be spoken to: the one answer, so that no two commands contradict each other.

Looks at its record and at the process that this names, changes nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from claude_bottle.errors import BottleError

if TYPE_CHECKING:
    from claude_bottle.state.paths import Paths


class NotRunning(BottleError):
    """There is no keeper to speak to, or not now."""


def absence(paths: Paths, identity: str) -> NotRunning:
    """Why nobody answers for `identity` now. Damaged and NewerSchema as from the store."""
    from claude_bottle.state import record as records
    from claude_bottle.state.store import Store

    record = Store(paths).find(identity)
    if record is None:
        return NotRunning(f"no bottle called {identity}", do="claude-bottle ls --all lists them")
    if not records.is_alive(record.keeper):
        return NotRunning(f"{identity} is not running", do=f"claude-bottle resume {identity}")
    if record.status == records.STARTING:
        return NotRunning(f"{identity} is still starting", do=f"try again in a moment, or claude-bottle stop {identity}")
    return NotRunning(f"{identity} cannot be reached now", why="it has ended and is being settled, or has only just come up",
                      do=f"try again in a moment; claude-bottle resume {identity} waits for it to be settled")  # fmt: skip
