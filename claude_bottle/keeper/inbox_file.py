"""`requests.json` of one identity: its inbox, written whole before anything is done about it.

Damaged, foreign or newer files are refused and kept. Nothing is written for a bottle that nobody has asked for anything.
"""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

from claude_bottle.errors import BottleError
from claude_bottle.keeper.leases import Leases
from claude_bottle.model.requests import UNTIL, new_launch_id, new_request_id
from claude_bottle.state import damage
from claude_bottle.state.files import read_json, write_atomic
from claude_bottle.state.record import BadRecord, migrate, timestamp
from claude_bottle.supervise.inbox import Inbox
from claude_bottle.supervise.resuming import resume
from claude_bottle.values import dataclass, field

if TYPE_CHECKING:
    from collections.abc import Sequence

    from claude_bottle.model.policy import Rule
    from claude_bottle.state.paths import Paths

LIMIT = 16 << 20


@dataclass(frozen=True)
class Carried:
    """What a launch begins with. `notes` as in `Resumed`; `rebuild`: approved tools that are still to be carried out."""

    inbox: Inbox
    leases: Leases = field(default_factory=Leases)
    notes: tuple[str, ...] = ()
    rebuild: tuple[str, ...] = ()


def fresh(identity: str) -> Carried:
    return Carried(Inbox(identity, new_launch_id()))


def carry(paths: Paths, identity: str, plan: Sequence[Rule]) -> Carried:
    """For the next launch of a bottle that was kept. Changes nothing on disk: the keeper writes it when the bottle is up.
    Damaged or NewerSchema for a file that cannot be used."""
    found = load(paths, identity)
    if found is None:
        return fresh(identity)
    inbox, clock = found
    leases = Leases()
    over = leases.carry([one for one in inbox.in_force if one.scope == UNTIL], clock)
    resumed = resume(inbox, new_launch_id(), plan, over, new_request_id, timestamp())
    for one in resumed.inbox.in_force:
        if one.scope == UNTIL and one.id not in leases.due:
            leases.until(one.id, one.expires)
    kept = {one.id for one in resumed.inbox.in_force}
    for name in [name for name in leases.due if name not in kept]:
        leases.forget(name)
    return Carried(resumed.inbox, leases, resumed.notes, resumed.rebuild)


def load(paths: Paths, identity: str) -> tuple[Inbox, object] | None:
    """The inbox and where its clock stood; None when there is none. Damaged or NewerSchema as they come."""
    path = paths.requests(identity)
    try:
        data = migrate(read_json(path, LIMIT), ())
        return Inbox.from_dict(identity, data), data.get("clock")
    except FileNotFoundError:
        return None
    except (BadRecord, ValueError) as problem:
        raise damage.damaged(path, str(problem)) from problem
    except BottleError as problem:
        if problem.exit_code == 3:  # what no approval may lift stands in it
            raise damage.damaged(path, f"{problem.what}: {problem.why}") from problem
        raise


def save(paths: Paths, inbox: Inbox, leases: Leases) -> None:
    """On the disk, whole, when it returns. BottleError when it cannot be; the former one is then untouched."""
    data = {"schema": 1, **inbox.to_dict(), "clock": leases.to_dict(one.id for one in inbox.in_force)}
    write_atomic(paths.requests(inbox.bottle), json.dumps(data).encode())


def exists(paths: Paths, identity: str) -> bool:
    return os.path.lexists(paths.requests(identity))
