"""What of an inbox a bottle begins its next launch with.

`until` and `agent` grants stay, as long as the plan is sound with them; `once` and `session` ended with the bottle. What was
approved and may not have come into force is finished here, exactly once: it is a grant now, in force from the boot. Only a
`once` may have been used by the launch that died, so it is asked for again. What waited expires. Pure.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from claude_bottle.model.changes import CapabilityChange
from claude_bottle.model.requests import AGENT, APPROVED, ONCE, SUBMITTED, UNTIL, Request
from claude_bottle.supervise.composition import granted_already, problems
from claude_bottle.supervise.inbox import Inbox, lasting
from claude_bottle.values import dataclass, replace

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from claude_bottle.model.policy import Rule

BOTTLE_ENDED = "the bottle ended"


@dataclass(frozen=True)
class Resumed:
    """`notes`: what became of what was under way, one line each, for the journal and the operator. `rebuild`: approved
    requests for tools, which the keeper has to carry out (or finds carried out)."""

    inbox: Inbox
    notes: tuple[str, ...] = ()
    rebuild: tuple[str, ...] = ()


def ended(inbox: Inbox) -> Inbox:
    """As a bottle leaves it that has ended: nothing waits any more, what belonged to it is over."""
    for one in inbox.waiting:
        inbox = inbox.expire(one.id, BOTTLE_ENDED)
    return inbox.end_grants({one.id: BOTTLE_ENDED for one in inbox.in_force if not lasting(one)})


def resume(
    inbox: Inbox, launch: str, plan: Sequence[Rule], expired: Collection[str], new_id: Callable[[], str], now: str
) -> Resumed:
    """For the next launch. `expired`: the grants whose time is over; `now`: RFC 3339; `new_id`: makes request ids."""
    notes: list[str] = []
    over = {one.id: "its time is over" for one in inbox.in_force if one.id in expired}
    over |= {one.id: "the manifest has it now" for one in inbox.in_force
             if one.scope == AGENT and granted_already(plan, (), one.change)}  # fmt: skip
    inbox = replace(ended(inbox.end_grants(over)), launch=launch)
    again: list[Request] = []
    rebuild = []
    for one in [one for one in inbox.requests if one.state == APPROVED]:
        if isinstance(one.change, CapabilityChange):
            rebuild.append(one.id)
        elif one.scope == ONCE:
            asked = Request(new_id(), inbox.bottle, launch, one.approved or one.change, one.reason, one.via, now)
            again.append(asked)
            inbox = inbox.failed(one.id, f"the bottle ended before it was known to be used; asked again as {asked.id}")
            notes.append(f"{one.id} may have been used: it waits for a decision again, as {asked.id}")
        elif one.scope == UNTIL and one.until <= now:
            inbox = inbox.failed(one.id, "its time was over before it came into force")
            notes.append(f"{one.id} was approved, but its time is over")
        else:
            inbox = inbox.applied(one.id, "approved before the bottle ended, in force since its resume", now)
            notes.append(f"{one.id} was approved before the bottle ended: it is in force now")
    for asked in again:
        inbox = replace(inbox, requests=(*inbox.requests, asked))
    inbox, unsound = _sound(inbox, plan)
    return Resumed(replace(inbox, revision=inbox.revision + 1), (*notes, *unsound), tuple(rebuild))


def waits(inbox: Inbox) -> bool:
    """Whether anything of it has to be decided."""
    return any(one.state == SUBMITTED for one in inbox.requests)


def _sound(inbox: Inbox, plan: Sequence[Rule]) -> tuple[Inbox, list[str]]:
    """Without the grants that contradict the plan as it is now: it may have been changed meanwhile."""
    notes = []
    for one in inbox.in_force:
        others = [other for other in inbox.in_force if other.id != one.id]
        if found := problems(plan, others, one.change):
            inbox = inbox.end_grants({one.id: f"it contradicts the plan: {found[0]}"})
            notes.append(f"{one.id} is over, it contradicts the plan: {found[0]}")
    return inbox, notes
