"""The file of `--approvals`: what an operator approves beforehand for a run that nobody watches.

Read once, shown in the plan, part of its digest. It is the operator's word, so it must be theirs alone: a plain file that no
one else may write to, and not where the agent could.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from claude_bottle.errors import BottleError, Refused
from claude_bottle.redact import printable
from claude_bottle.state.config import Settings
from claude_bottle.state.files import read_json
from claude_bottle.supervise.rulefile import parse
from claude_bottle.values import replace

if TYPE_CHECKING:
    from claude_bottle.model.plan import BottlePlan
    from claude_bottle.state.paths import Paths

_LIMIT = 256 << 10


def with_approvals(plan: BottlePlan, file: str, paths: Paths) -> BottlePlan:
    """The plan with what the file approves. BottleError when it cannot be used; Refused where the agent may write it."""
    place = Path(os.path.abspath(file))
    _demand_out_of_reach(place, plan)
    try:
        data = read_json(place, _LIMIT)
    except FileNotFoundError:
        raise BottleError(f"there is no file {printable(file)}", do="name the file of --approvals") from None
    entries = parse(data, tuple(Settings.load(paths).upstreams))
    return replace(plan, approvals=tuple(one.to_dict() for one in entries))


def _demand_out_of_reach(place: Path, plan: BottlePlan) -> None:
    """An agent that can change the file would approve its own requests at the next start."""
    writable = [mount.source for mount in plan.mounts if mount.mode == "rw"]
    if plan.workspace.mode == "bind" and plan.workspace.source is not None:
        writable.append(plan.workspace.source)
    real = os.path.realpath(place)
    for source in map(os.path.realpath, writable):
        if os.path.commonpath([source, real]) == source:
            raise Refused("this file of approvals does not count", why=f"the agent can write to {printable(source)}",
                          do="keep it outside of the directory that the bottle works on")  # fmt: skip
