"""What an agent may submit at all: so small that it can be shown whole, nothing that reads differently than it is, and not
faster than a person could look.

The change has checked itself already (`model.changes`); here are the limits of the loop. Pure: the clock is the caller's.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from claude_bottle.errors import BottleError, Refused
from claude_bottle.model.changes import CapabilityChange, change_from_dict
from claude_bottle.supervise.composition import rules_of
from claude_bottle.supervise.lookalikes import mixed_script

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from claude_bottle.model.changes import Change

# Bytes of a change as JSON, and lines of a fragment: what fits on a few screens.
MAX_CHANGE, MAX_LINES = 8 << 10, 100
# So many at once, then one in so many seconds. What asks for something that waits already costs nothing.
BURST, EVERY_SECONDS = 20, 6.0


def change_of(data: object, operator_named: Collection[tuple[str, int]]) -> Change:
    """The change in what a gate passed on. Refused, in words for the agent, for what is none or may not be asked for."""
    try:
        change = change_from_dict(data, operator_named=operator_named)
    except BottleError as problem:
        raise Refused("this cannot be asked for", why=f"{problem.what}: {problem.why}") from None
    except (ValueError, RecursionError) as problem:
        raise Refused("this cannot be asked for", why=str(problem)) from None
    if len(json.dumps(change.to_dict())) > MAX_CHANGE:
        raise Refused("this cannot be asked for", why=f"it is larger than {MAX_CHANGE >> 10} KiB; ask for less at a time")
    _check_fragment(change)
    for rule in rules_of(change):
        if mixed_script(rule.host):
            raise Refused("this cannot be asked for", why=f"{rule.host} mixes scripts that look alike")
    return change


def _check_fragment(change: Change) -> None:
    """A Dockerfile's lines are shown as they are, so there is nothing in them that could be taken for something else."""
    fragment = change.capability.fragment if isinstance(change, CapabilityChange) else ""
    lines = fragment.split("\n")
    if len(lines) > MAX_LINES:
        raise Refused("this cannot be asked for", why=f"a fragment has at most {MAX_LINES} lines")
    if not all(line.isascii() and line.isprintable() for line in lines):
        raise Refused("this cannot be asked for", why="a fragment is printable ASCII, with blanks instead of tabs")
    if any(line != line.rstrip() or "    " in line.strip() for line in lines):
        raise Refused("this cannot be asked for", why="a fragment has no blanks at the end of lines nor long gaps within")


class Rate:
    """A token bucket by the clock given. `refused` counts what was turned away since somebody last took the number."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock, self._tokens, self._at = clock, float(BURST), clock()
        self.refused = 0

    def allow(self) -> bool:
        now = self._clock()
        self._tokens = min(float(BURST), self._tokens + max(0.0, now - self._at) / EVERY_SECONDS)
        self._at = now
        if self._tokens < 1:
            self.refused += 1
            return False
        self._tokens -= 1
        return True

    def take_refused(self) -> int:
        refused, self.refused = self.refused, 0
        return refused
