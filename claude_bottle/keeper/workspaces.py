"""What a bottle's working directory begins as, or goes on from: part of its boot, before anything of it runs.

At the first start it is what the plan's mode says. Later it is what the bottle made of it, wherever that lies: a layer over
the operator's directory goes on as one where it can, and becomes a private copy for a backend that has no overlays.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from claude_bottle.state import layers
from claude_bottle.state.layers import Layers

if TYPE_CHECKING:
    from claude_bottle.backend.base import Overlay
    from claude_bottle.keeper.order import Order


class Beginning(NamedTuple):
    """For `Boot`: the directory to copy, or the overlay to mount. Neither: what is in the private directory already."""

    copy_from: Path | None = None
    overlay: Overlay | None = None


def begin(order: Order) -> Beginning:
    """Prepare the workspace of a launch. BottleError when it cannot be had as planned."""
    work = order.plan.workspace
    if not work.private or work.source is None:
        return Beginning()
    source = Path(work.source)
    if order.former is not None:
        return _go_on(order, source)
    if work.mode == "overlay":
        return Beginning(overlay=_overlay(layers.begin(order.paths, order.identity, source)))
    if work.mode == "clone":
        _clone(order, source, work.include)
        return Beginning()
    return Beginning(copy_from=source)


def _clone(order: Order, source: Path, include: tuple[str, ...]) -> None:
    import json

    from claude_bottle.backend import clone, fingerprint
    from claude_bottle.state.files import write_atomic

    branch = f"bottle/{order.identity}"
    commit = clone.into(source, order.workspace, branch, include)
    told = {"commit": commit, "branch": branch, "holds": fingerprint.of_clone(order.workspace)}
    write_atomic(order.paths.clone(order.identity), json.dumps(told).encode())


def unchanged_clone(order: Order) -> bool:
    """Whether the workspace, which began as a clone, holds what it held then. False where that is not known."""
    from claude_bottle.backend import fingerprint
    from claude_bottle.errors import BottleError
    from claude_bottle.state.files import read_json

    try:
        told = read_json(order.paths.clone(order.identity), 1 << 16)
    except (OSError, BottleError):
        return False
    return fingerprint.of_clone(order.workspace) == told.get("holds")


def _go_on(order: Order, source: Path) -> Beginning:
    begun = layers.load(order.paths, order.identity)
    if begun is None:
        return Beginning()
    if order.plan.workspace.mode == "overlay" and order.backend.overlays and begun.source == source:
        return Beginning(overlay=_overlay(begun))
    settle_into_copy(begun, order.workspace)
    return Beginning()


def _overlay(begun: Layers) -> Overlay:
    from claude_bottle.backend.base import Overlay

    return Overlay(begun.source, begun.directory, begun.below)


def settle_into_copy(begun: Layers, workspace: Path) -> None:
    """Make the private directory hold what the layers over the original show, and forget the layers. A crash half-way
    leaves them, and the next launch begins anew."""
    from claude_bottle.backend import flatten
    from claude_bottle.state.removal import remove_tree

    flatten.into(begun, workspace)
    os.unlink(begun.directory / layers.NOTE)
    remove_tree(begun.directory)
