"""Taking a checkpoint: home and workspace of one bottle, as they are at one moment, into its state directory.

For whoever holds the bottle: its keeper while it runs, a command that has its lock when it does not. An overlay's layer is
finished by one rename where nothing has it mounted, and copied where it is; everything that did not change since the last
checkpoint is shared with it.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Protocol

from claude_bottle.backend import freezing
from claude_bottle.state import checkpoints, layers
from claude_bottle.state.checkpoints import Checkpoint
from claude_bottle.state.record import timestamp
from claude_bottle.state.removal import remove_tree

if TYPE_CHECKING:
    from pathlib import Path

    from claude_bottle.backend.freezing import Seen
    from claude_bottle.state.layers import Layers
    from claude_bottle.state.paths import Paths
    from claude_bottle.state.record import BottleRecord

_UPPER = "upper"


class Work(Protocol):
    """Of a bottle's workspace, what its plan says."""

    @property
    def mode(self) -> str: ...
    @property
    def source(self) -> str | None: ...


def take(
    paths: Paths, record: BottleRecord, work: Work, name: str, *, running: bool, made: str = checkpoints.OPERATOR
) -> Checkpoint:  # fmt: skip
    """A checkpoint of what lies on this host's disk, called `name` or as those are that are `made` for that reason.
    BottleError when not all of it could be kept: there is none then."""
    name = name or checkpoints.next_name(paths, record.identity, made)
    before = next(reversed(checkpoints.known(paths, record.identity)), None)
    former = freezing.recall(before.path / checkpoints.SEEN) if before else {}
    staging = checkpoints.begin(paths, record.identity, name)
    try:
        seen = {checkpoints.HOME: freezing.freeze(
            paths.home(record.identity), staging / checkpoints.HOME, before.home if before else None,
            former.get(checkpoints.HOME))}  # fmt: skip
        begun = layers.load(paths, record.identity)
        stack = over = None
        if begun is not None:
            stack, over = _layers(paths, record.identity, begun, before, former, seen, running=running)
        elif work.mode != "bind" and os.path.isdir(paths.workspace(record.identity)):
            seen[checkpoints.WORKSPACE] = freezing.freeze(
                paths.workspace(record.identity), staging / checkpoints.WORKSPACE, before.workspace if before else None,
                former.get(checkpoints.WORKSPACE))  # fmt: skip
        freezing.keep(staging / checkpoints.SEEN, seen)
        return checkpoints.complete(staging, Checkpoint(
            staging, name, timestamp(), record.agent, record.harness, record.session_id, work.mode, work.source, stack, over,
            begun.since if begun else 0, made))  # fmt: skip
    except BaseException:
        remove_tree(staging)
        raise


def prune(paths: Paths, identity: str, most: int) -> None:
    """Of the checkpoints that nobody asked for keep the newest `most`, and no layer that nothing names any more."""
    checkpoints.prune(paths, identity, most)
    begun = layers.load(paths, identity)
    if begun is not None:
        layers.sweep(begun, _named(paths, identity))


def _named(paths: Paths, identity: str) -> set[str]:
    return {name for one in checkpoints.known(paths, identity) for name in one.layers or ()}


def _layers(
    paths: Paths, identity: str, begun: Layers, before: Checkpoint | None, former: dict[str, Seen], seen: dict[str, Seen],
    *, running: bool,
) -> tuple[tuple[str, ...], tuple[str, ...] | None]:  # fmt: skip
    """The finished layers that make the workspace now, and what the newest was copied over."""
    if not running:
        begun = layers.mend(begun)
        layers.sweep(begun, _named(paths, identity))
        return layers.finish(begun).below, None
    with os.scandir(begun.upper) as entries:
        if not any(entries):
            return begun.below, None
    same = before is not None and before.over == begun.below and before.layers
    last: Path | None = begun.directory / before.layers[0] if before and before.layers and same else None
    name = layers.new_name()
    try:
        seen[_UPPER] = freezing.freeze(begun.upper, begun.directory / name, last, former.get(_UPPER) if last else None,
                                       layer=True)  # fmt: skip
    except BaseException:
        remove_tree(begun.directory / name)
        raise
    return (name, *begun.below), begun.below
