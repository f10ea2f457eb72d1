"""How long a bottle may run: when its time is up it is stopped as by its operator, and kept.

The clock is the keeper's, over all the lives of its bottle: it stands still while the machine sleeps, and begins anew when
the bottle is resumed, which a person decides.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from claude_bottle.model import durations

if TYPE_CHECKING:
    from collections.abc import Callable

    from claude_bottle.keeper.loop import Loop, Timer
    from claude_bottle.model.plan import BottlePlan

WALL = "wall"


def watch(loop: Loop, plan: BottlePlan, stop: Callable[[str], None]) -> Timer | None:
    """Have `stop` called with the reason when the plan's time is up; None where it has no bound."""
    said = next((limit.value for limit in plan.limits if limit.name == WALL), "")
    seconds = durations.seconds(said)
    return loop.later(seconds, lambda: stop(f"its time was up (wall {said})")) if seconds else None
