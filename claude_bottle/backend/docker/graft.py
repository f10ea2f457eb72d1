"""Root's own directory, or a layer over it, as the workspace of a container, shown as the bottle user's.

An engine can only show a directory with its owners as they are, and a bottle never runs as root; nor does it lay anything
over one. So the container begins with an empty read-only /workspace, and before any program of the bottle runs, the keeper
covers it from outside, in the container's own mount namespace, with an id-mapped copy of the directory's mount or with an
overlay of such copies: it goes with the container, and this host's table of mounts never has it.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from claude_bottle.errors import EnvironmentLacks
from claude_bottle.harness.base import WORKSPACE

if TYPE_CHECKING:
    from claude_bottle.backend.base import Boot, Overlay
    from claude_bottle.backend.sources import OwnerShift

_STAGE_BYTES = 1 << 20


def needed(workspace: str | None, *, mapped: bool = False) -> bool:
    """Whether this directory, to be shown as it is on the host, is root's, and the bottle too; or whoever's it is, where
    an engine's users are `mapped` to others."""
    return workspace is not None and os.geteuid() == 0 and (mapped or os.stat(workspace).st_uid == 0)


def cover(first: int, boot: Boot, user: tuple[int, int]) -> None:
    """Cover /workspace of the container whose first process is `first` (a pidfd): with the overlay of `boot`, or with its
    directory, whose owner appears as `user` (uid, gid) and whose guards are put in force. EnvironmentLacks where a file
    system cannot do that, BottleError as for every source."""
    from claude_bottle.backend import childhood

    childhood.in_child(lambda: _cover(first, boot, user))


def _cover(first: int, boot: Boot, user: tuple[int, int]) -> None:
    from claude_bottle.backend import idmaps, protected, sources
    from claude_bottle.backend import namespaces as ns

    def shift(uid: int, gid: int, others: bool) -> int:
        return idmaps.mapping_namespace((uid, gid), user, others=others)

    def shown(path: Path | str) -> int:
        return sources.open_source(sources.Source(str(path), "workspace", True), shift).tree

    workspace = _laid(boot.overlay, user, shift) if boot.overlay is not None else shown(boot.workspace)
    private = {guard.source: shown(guard.source) for guard in boot.guards if guard.source is not None}
    for tree in (workspace, *private.values()):
        ns.confine_tree(tree)
    meant = os.fstat(workspace)
    ns.setns(first, ns.CLONE_NEWNS)
    root = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    ns.move_mount(workspace, root, WORKSPACE.lstrip("/"))
    protected.hold(workspace, boot.guards, private.__getitem__)
    seen = os.stat(WORKSPACE)
    if (seen.st_dev, seen.st_ino, seen.st_uid) != (meant.st_dev, meant.st_ino, user[0]):
        raise EnvironmentLacks(f"{boot.workspace} did not become the workspace",
                               why="something else appears in the container")  # fmt: skip


def _laid(over: Overlay, user: tuple[int, int], shift: OwnerShift) -> int:
    """The overlay as a detached mount, put together on a stage that goes with this process."""
    from claude_bottle.backend import namespaces as ns
    from claude_bottle.backend import overlay, sources, stage

    ns.unshare(ns.CLONE_NEWNS)
    ns.mount("", "/", "", ns.MS_REC | ns.MS_PRIVATE)
    opened = [sources.open_source(source, shift) for source in overlay.layers(over)]
    place = stage.make_stage(_STAGE_BYTES)
    for one in opened:
        stage.attach(one, place)
    overlay.mount(over, user)
    merged = os.open(overlay.MERGED, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=place)
    return ns.open_tree(merged)
