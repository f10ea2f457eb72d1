"""What is looked at again and again while a bottle runs, beside its keeper's loop."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from claude_bottle.keeper import bounds

if TYPE_CHECKING:
    from collections.abc import Callable

    from claude_bottle.keeper.boot import Booted
    from claude_bottle.keeper.order import Order


class Beside(Protocol):
    def finish(self) -> None:
        """End it, before the settlement looks for the last time."""


def begin(
    order: Order, booted: Booted, stand: Callable[[str], None], turn_ended: Callable[[], None], stop: Callable[[str], None]
) -> list[Beside]:
    """Those that this bottle needs. `stand`: see `host_watch`; `turn_ended`: see `turns`; `stop`: see `bounds`."""
    found: list[Beside] = []
    if order.backend.snapshot_seconds:
        from claude_bottle.keeper.snapshots import Snapshots

        found.append(Snapshots(order, booted, order.backend.snapshot_seconds))
    if order.plan.workspace.mode == "bind":
        from claude_bottle.keeper import live_changes
        from claude_bottle.keeper.live_watch import LiveWatch

        note = live_changes.load(order.paths.live(order.identity))
        if note is not None:
            found.append(LiveWatch(order, booted, note, stand))
    if order.plan.workspace.mode == "overlay":
        from claude_bottle.keeper.host_watch import HostWatch
        from claude_bottle.state import layers

        begun = layers.load(order.paths, order.identity)
        if begun is not None:
            found.append(HostWatch(order, booted, begun, stand))
    if order.plan.checkpoints:
        from claude_bottle.keeper.turns import Turns

        found.append(Turns(order, booted.loop, turn_ended))
    space = bounds.disk_space(order, booted, stop)
    return [*found, space] if space else found
