"""Which workspace a plan says: what the manifest and the command line ask for, and what this place can give.

Whatever is given in the place of what was asked for is said in the plan. Looks at the operator's directory, writes nothing.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from claude_bottle.backend import work_trees
from claude_bottle.errors import BottleError, Refused
from claude_bottle.harness.base import WORKSPACE
from claude_bottle.model.plan import Workspace
from claude_bottle.redact import printable
from claude_bottle.state.paths import Paths

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from claude_bottle.backend.base import BottleSpec
    from claude_bottle.manifest.bottle import Bottle as Granted
    from claude_bottle.model.plan import Mount


def refuse_ways_round(mounts: Sequence[Mount], source: str) -> None:
    """Refused where a mount shows what is guarded in a live workspace a second time, unguarded."""
    live = os.path.realpath(source)
    for mount in mounts:
        shown = os.path.realpath(mount.source)
        if mount.mode == "rw" and os.path.commonpath((live, shown)) in (live, shown):
            raise Refused(f"{printable(mount.source)} is mounted read-write beside the live workspace",
                          why="hooks and settings that are read-only in the workspace could be written there",
                          do='say "mode": "ro" for it, or mount what does not overlap with the workspace')  # fmt: skip


_LIVE = (
    "live: the agent changes these files directly, scripts that your own tools run included; git hooks and config, settings"
    " of agents and editors, and CI files that are there are read-only; what changes of others that run by themselves is told"
)


def planned_workspace(
    bottle: Granted, spec: BottleSpec, no_overlay: Callable[[str, str], str]
) -> tuple[Workspace, list[str]]:
    """The workspace, and what the operator should know about it. See `planning.compose`."""
    asked = bottle.workspace
    mode = "copy" if spec.copy_cwd and asked in ("none", "bind") else asked
    if mode == "none":
        return Workspace("none", WORKSPACE), []
    source, paths = _source(spec), Paths.default()
    said = []
    if mode == "bind":
        refuse_ways_round(bottle.mounts, source)
        said.append(_LIVE)
    if mode == "overlay":
        why = _left_layers(paths, spec.resume_of) or no_overlay(source, str(paths.root))
        if why:
            mode = "copy"
            said.append(f"a copy in the place of an overlay: {why}")
        else:
            said += _edits(paths, spec.resume_of, source)
    if mode != "clone":
        said += _elsewhere(source, mode)
    return Workspace(mode, WORKSPACE, source, bottle.include if mode == "clone" else ()), said


def _left_layers(paths: Paths, identity: str | None) -> str:
    """Why a bottle that is resumed goes on from a private directory, in words; "" if it does not."""
    if identity is None or not paths.workspace(identity).is_dir():
        return ""
    from claude_bottle.state import layers

    if layers.load(paths, identity) is not None:
        return ""
    return "its work became one when it was resumed where there was none"


def _source(spec: BottleSpec) -> str:
    source = os.path.realpath(spec.user_cwd or Path.cwd())
    for holds, what in (
        (os.path.realpath(Path.home()), "your whole home"),
        (str(Paths.default().root), "our state"),
    ):
        if os.path.commonpath((source, os.path.realpath(holds))) == source:
            raise BottleError(
                f"{source} cannot be the agent's workspace",
                why=f"it holds {what}",
                do="start from a project's own directory",
            )
    return source


def _edits(paths: Paths, identity: str | None, source: str) -> list[str]:
    """What the host changed below a private layer since it was begun: the agent sees it now where it has not changed the
    same file itself."""
    if not identity:
        return []
    from claude_bottle.state import layers

    begun = layers.load(paths, identity)
    if begun is None or str(begun.source) != source:
        return []
    from claude_bottle.state import host_edits

    changed = host_edits.unlike(begun, host_edits.edited(begun))
    return [host_edits.describe(changed)] if changed else []


def _elsewhere(source: str, mode: str) -> list[str]:
    """What becomes of the repository of a linked worktree or submodule."""
    if not work_trees.elsewhere(Path(source)):
        return []
    if mode == "bind":
        return ['.git is a file here: the repository lies elsewhere and is not seen; "mode": "overlay" brings it along']
    why = work_trees.why_not(Path(source))
    if why:
        return [f".git is a file here: the repository lies elsewhere and is not seen, since it cannot be copied: {why}"]
    return [".git is a file here: the repository, which lies elsewhere, comes along as a copy"]
