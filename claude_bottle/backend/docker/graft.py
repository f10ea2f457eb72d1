"""Root's own directory as the workspace of a container, shown as the bottle user's.

An engine can only show a directory with its owners as they are, and a bottle never runs as root. So the container begins
with an empty read-only /workspace, and before any program of the bottle runs, the keeper covers it from outside with an
id-mapped copy of the directory's mount, in the container's own mount namespace: it goes with the container, and this
host's table of mounts never has it.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from claude_bottle.errors import EnvironmentLacks
from claude_bottle.harness.base import WORKSPACE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from claude_bottle.backend.protected import Guard


def needed(workspace: str | None, *, mapped: bool = False) -> bool:
    """Whether this directory, to be shown as it is on the host, is root's, and the bottle too; or whoever's it is, where
    an engine's users are `mapped` to others."""
    return workspace is not None and os.geteuid() == 0 and (mapped or os.stat(workspace).st_uid == 0)


def graft(first: int, source: str, user: tuple[int, int], guards: Sequence[Guard] = ()) -> None:
    """Cover /workspace of the container whose first process is `first` (a pidfd) with `source`, whose owner appears as
    `user` (uid, gid), and put `guards` in force on it. EnvironmentLacks where its file system cannot do that, BottleError as
    for every source."""
    from claude_bottle.backend import childhood

    childhood.in_child(lambda: _cover(first, source, user, guards))


def _cover(first: int, source: str, user: tuple[int, int], guards: Sequence[Guard]) -> None:
    from claude_bottle.backend import idmaps, protected, sources
    from claude_bottle.backend import namespaces as ns

    def shown(path: Path | str) -> int:
        tree = sources.open_source(
            sources.Source(str(path), "workspace", True), lambda uid, gid, _: idmaps.mapping_namespace((uid, gid), user)
        ).tree
        ns.confine_tree(tree)
        return tree

    workspace = shown(source)
    private = {guard.source: shown(guard.source) for guard in guards if guard.source is not None}
    meant = os.fstat(workspace)
    ns.setns(first, ns.CLONE_NEWNS)
    root = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    ns.move_mount(workspace, root, WORKSPACE.lstrip("/"))
    protected.hold(workspace, guards, private.__getitem__)
    seen = os.stat(WORKSPACE)
    if (seen.st_dev, seen.st_ino, seen.st_uid) != (meant.st_dev, meant.st_ino, user[0]):
        raise EnvironmentLacks(f"{source} did not become the workspace", why="something else appears in the container")
