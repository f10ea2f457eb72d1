"""What a bottle's working directory begins as, or goes on from: part of its boot, before anything of it runs.

At the first start it is what the plan's mode says. Later it is what the bottle made of it, wherever that lies: a layer over
the operator's directory goes on as one where it can, and becomes a private copy for a backend that has no overlays.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from claude_bottle.backend import tree as copying
from claude_bottle.backend import work_trees
from claude_bottle.state import layers
from claude_bottle.state.layers import Layers
from claude_bottle.workspace import base
from claude_bottle.workspace.directory import Directory

if TYPE_CHECKING:
    from claude_bottle.backend.base import Overlay
    from claude_bottle.backend.protected import Guard
    from claude_bottle.keeper.order import Order
    from claude_bottle.state.paths import Paths



class Beginning(NamedTuple):
    """For `Boot`: the directory to copy, or the overlay to mount, or what is guarded of a live one. Nothing: what is in the
    private directory already."""

    copy_from: Path | None = None
    overlay: Overlay | None = None
    guards: tuple[Guard, ...] = ()


def begin(order: Order) -> Beginning:
    """Prepare the workspace of a launch. BottleError when it cannot be had as planned."""
    work = order.plan.workspace
    if work.mode == "bind" and work.source is not None:
        from claude_bottle.keeper import live_changes, live_work

        guards = live_work.guard(order.paths, order.identity, Path(work.source))
        made = live_work.made(order.paths, order.identity)
        live_changes.save(order.paths.live(order.identity), Path(work.source), made)
        return Beginning(guards=guards)
    if not work.private or work.source is None:
        return Beginning()
    source = Path(work.source)
    if order.former is not None or order.forked:
        return _go_on(order, source)
    if work.mode == "overlay":
        begun = layers.begin(order.paths, order.identity, source)
        if not _settle_work_trees(order, source, begun.upper, layer=True):
            with Directory(source) as tree:
                base.record_refs(tree, order.paths.base(order.identity))
        return Beginning(overlay=_overlay(begun))
    if work.mode == "clone":
        _clone(order, source, work.include)
        return Beginning()
    # Before the copy: what the operator changes in between is then taken for the bottle's at worst, and the host has it.
    if work_trees.wanted(source):
        copying.copy_into(source, order.workspace)
        _settle_work_trees(order, source, order.workspace, layer=False)
        base.record(source, order.paths.base(order.identity))
        return Beginning()
    base.record(source, order.paths.base(order.identity))
    return Beginning(copy_from=source)


def _settle_work_trees(order: Order, source: Path, place: Path, *, layer: bool) -> bool:
    """Whether the workspace has a repository of its own by that, whose refs are then what was handed in."""
    if not work_trees.wanted(source) or not work_trees.settle(source, place, layer=layer):
        return False
    with Directory(place) as tree:
        base.record_refs(tree, order.paths.base(order.identity), source)
    return True


def _clone(order: Order, source: Path, include: tuple[str, ...]) -> None:
    import json

    from claude_bottle.backend import clone
    from claude_bottle.state.files import write_atomic

    branch = f"bottle/{order.identity}"
    commit = clone.into(source, order.workspace, branch, include)
    write_atomic(order.paths.clone(order.identity), json.dumps({"commit": commit, "branch": branch}).encode())
    base.record(order.workspace, order.paths.base(order.identity), belongs_to=source, ignoring=False)


def changed_below(order: Order) -> tuple[list[str], str]:
    """What the host has changed below a bottle's layer and the bottle has not the same, as paths and in one sentence."""
    begun = layers.load(order.paths, order.identity) if order.plan.workspace.mode == "overlay" else None
    if begun is None:
        return [], ""
    from claude_bottle.state import host_edits

    with os.scandir(begun.upper) as written:
        worked = any(written)  # else there is nothing that could come back
    changed = host_edits.unlike(begun, host_edits.edited(begun, note=worked))
    return changed, host_edits.describe(changed) if changed else ""


def _go_on(order: Order, source: Path) -> Beginning:
    begun = layers.load(order.paths, order.identity)
    if begun is None:
        return Beginning()
    begun = layers.mend(begun)
    if order.plan.workspace.mode == "overlay" and begun.source == source:
        return Beginning(overlay=_overlay(begun))
    settle_into_copy(order.paths, order.identity, begun, order.workspace)
    return Beginning()


def _overlay(begun: Layers) -> Overlay:
    from claude_bottle.backend.base import Overlay

    return Overlay(begun.source, begun.directory, begun.below)


def settle_into_copy(paths: Paths, identity: str, begun: Layers, workspace: Path) -> None:
    """Make the private directory hold what the layers over the original show, and forget the layers that no checkpoint
    names. A crash half-way leaves them, and the next launch begins anew."""
    from claude_bottle.backend import flatten
    from claude_bottle.state import checkpoints
    from claude_bottle.state.removal import remove_tree

    base.record(begun.source, paths.base(identity), ignoring=False)
    flatten.into(begun, workspace)
    os.unlink(begun.directory / layers.NOTE)
    for name in (layers.UPPER, layers.WORK):
        remove_tree(begun.directory / name)
    named = {name for one in checkpoints.known(paths, identity) for name in one.layers or ()}
    layers.sweep(begun._replace(below=()), named)
