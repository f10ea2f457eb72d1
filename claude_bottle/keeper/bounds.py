"""What the keeper itself bounds: how long its bottle runs, and how much it writes. Beyond that it is stopped as by its
operator, and kept.

The clock is the keeper's, over all the lives of its bottle: it stands still while the machine sleeps, and begins anew when
the bottle is resumed, which a person decides. What was written is looked at in each of its lives.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from claude_bottle.model import durations

if TYPE_CHECKING:
    from collections.abc import Callable

    from claude_bottle.errors import BottleError
    from claude_bottle.keeper.boot import Booted
    from claude_bottle.keeper.diskspace import DiskSpace
    from claude_bottle.keeper.loop import Loop, Timer
    from claude_bottle.keeper.order import Order

    Stop = Callable[[str], None]


def clock(loop: Loop, order: Order, stop: Stop) -> list[Timer]:
    """Have `stop` called with the reason when the bottle's time is up."""
    wall = _kept_here(order, "wall")
    seconds = durations.seconds(wall) if wall else None
    return [loop.later(seconds, lambda: stop(f"its time was up (wall {wall})"))] if seconds else []


def disk_space(order: Order, booted: Booted, stop: Stop) -> DiskSpace | None:
    """The same when the bottle that has booted holds too much; None where nothing bounds it."""
    disk = _kept_here(order, "disk")
    if not disk:
        return None
    from claude_bottle.keeper.diskspace import DiskSpace
    from claude_bottle.model.git_grant import size

    paths, identity, bottle = order.paths, order.identity, booted.bottle
    private = (paths.home(identity), paths.workspace(identity)) if order.backend.files_are_here else ()
    most = size(disk)

    def full(problem: BottleError | None) -> None:
        if problem is None:
            stop(f"its disk was full (disk {disk})")
        elif bottle.alive():  # else that is why nobody could tell
            booted.audit.problem(problem)
            stop(f"its disk could not be looked at (disk {disk})")

    return DiskSpace(booted.loop, bottle.disk_usage((*private, paths.layers(identity)), most), most, full)


def _kept_here(order: Order, name: str) -> str:
    return next((limit.value for limit in order.plan.limits if limit.kept_here and limit.name == name), "")
