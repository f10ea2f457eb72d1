"""What the keeper itself bounds: how long its bottle runs, and how much it writes. Beyond that it is stopped as by its
operator, and kept.

The clock is the keeper's, over all the lives of its bottle: it stands still while the machine sleeps, and begins anew when
the bottle is resumed, which a person decides.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from claude_bottle.model import durations

if TYPE_CHECKING:
    from collections.abc import Callable

    from claude_bottle.keeper.diskspace import DiskSpace
    from claude_bottle.keeper.loop import Loop, Timer
    from claude_bottle.keeper.order import Order


def watch(loop: Loop, order: Order, stop: Callable[[str], None]) -> list[Timer | DiskSpace]:
    """Have `stop` called with the reason when a bound of the plan is reached."""
    said = {limit.name: limit.value for limit in order.plan.limits if limit.kept_here}
    watching: list[Timer | DiskSpace] = []
    if (wall := said.get("wall")) and (seconds := durations.seconds(wall)):
        watching.append(loop.later(seconds, lambda: stop(f"its time was up (wall {wall})")))
    if disk := said.get("disk"):
        from claude_bottle.keeper.diskspace import DiskSpace
        from claude_bottle.model.git_grant import size

        paths, identity = order.paths, order.identity
        places = (paths.home(identity), paths.workspace(identity), paths.layers(identity))
        watching.append(DiskSpace(loop, size(disk), places, lambda: stop(f"its disk was full (disk {disk})")))
    return watching
