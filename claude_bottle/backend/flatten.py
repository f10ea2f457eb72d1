"""Makes one directory of layers over the operator's: for a place that has no overlays."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

from claude_bottle.backend import tree
from claude_bottle.errors import BottleError
from claude_bottle.state.merged import Merged
from claude_bottle.state.removal import remove_tree

if TYPE_CHECKING:
    from pathlib import Path

    from claude_bottle.state.layers import Layers


def into(begun: Layers, workspace: Path) -> None:
    """Copy what `begun` shows into the directory `workspace`, whose content it replaces. BottleError when not all of it
    could be copied."""
    remove_tree(workspace)
    workspace.mkdir(0o700)
    copy = tree.Copy()
    with tree.opened(workspace) as target:
        _below(Merged(begun), "", target, copy, 0)
    copy.demand_all()


def _below(merged: Merged, path: str, target: int, copy: tree.Copy, depth: int) -> None:
    if depth > tree.MAX_DEPTH:
        raise BottleError("not everything could be copied", why=f"{path} is too deep")
    for name in merged.names(path):
        here = f"{path}/{name}" if path else name
        found = merged.entry(here)
        copy.entries += 1
        if copy.entries > tree.MAX_ENTRIES:
            raise BottleError("not everything could be copied", why="too many files")
        if found is None:
            continue
        if stat.S_ISLNK(found.st_mode):
            os.symlink(merged.link(here), name, dir_fd=target)
        elif stat.S_ISREG(found.st_mode):
            reading = merged.open(here)
            try:
                copy.pour(reading, target, name)
            finally:
                os.close(reading)
        elif stat.S_ISDIR(found.st_mode):
            os.mkdir(name, 0o700, dir_fd=target)
            with tree.opened_at(target, name) as inner:
                _below(merged, here, inner, copy, depth + 1)
                copy.dress(inner, found, 0o700)
