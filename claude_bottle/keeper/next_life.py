"""Between two lives of a bottle in one keeper: how the first goes down, and the order for the second.

What goes down is what a settlement takes down, and the home is here afterwards, wherever it ran. What comes is the same
launch with another plan, the conversation gone on with, and whatever was refreshed or granted meanwhile.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from claude_bottle.keeper import settle
from claude_bottle.keeper.order import Pipes
from claude_bottle.model import events
from claude_bottle.values import replace

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from claude_bottle.keeper.main import Keeper
    from claude_bottle.keeper.order import Order
    from claude_bottle.keeper.reboot_contract import Amend
    from claude_bottle.model.plan import BottlePlan


def take_down(keeper: Keeper) -> None:
    """The agent has ended: its terminal, what ran beside it, the bottle, the gate. Then all it wrote is on this host and
    archived, and its backend holds nothing of it. BottleError when something could not be brought here, which stays there
    then."""
    booted, order = keeper.booted, keeper.order
    booted.audit.record(events.AGENT_EXITED, code=booted.agent.wait(), why=keeper.rebooter.busy)
    keeper.let_go()
    booted.bottle.close()
    keeper.clients.end_execs()
    booted.audit.record(events.BOTTLE_DOWN)
    if booted.gate:
        for message in booted.gate.finish():
            keeper.heard(message)
        booted.gate.end()
    booted.bottle.fetch_home()
    booted.audit.record(events.ARCHIVED, path=str(settle.archive_home(order, booted) or ""))
    booted.bottle.release()
    booted.sandbox.close()


def next_order(
    keeper: Keeper, plan: BottlePlan, note: str, pipes: Pipes | None, amend: Iterable[Amend], *, silent: bool = False
) -> Order:  # fmt: skip
    """The launch that follows. `note` goes into the conversation, if there is one; `silent`: nothing is said in it before
    the operator does. `pipes` are of `reopened`."""
    order, booted = keeper.order, keeper.booted
    record = booted.store.load(order.identity)
    home = order.paths.home(order.identity)
    going_on = order.harness.supports_resume and bool(order.harness.transcript_files(home, record.session_id))
    note = note if going_on else ""
    launch = replace(order.launch, resume=going_on, session_id=record.session_id, note=note, silent=silent)
    gate = order.gate
    if gate is not None:
        gate = replace(gate, nonce=os.urandom(16).hex(), credentials=keeper.fresh_credentials())
    rows, cols = keeper.window()
    made = replace(
        order, plan=plan, record=record, former=record, launch=launch, argv=tuple(order.harness.command(launch)), gate=gate,
        rows=rows, cols=cols, pipes=pipes, reasons=keeper.reasons, begun=None,
    )  # fmt: skip
    for change in amend:
        made = change(made)
    return made


def reopened(order: Order, outputs: Mapping[int, int]) -> Pipes | None:
    """The agent's ends of the pipes of a `run` once more: its output goes where it went, its input has been read. To be
    made while the agent still runs, or its end would end the streams. `outputs`: our ends of those that are still read."""
    if order.pipes is None:
        return None
    ends = [os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)]
    for stream in (1, 2):
        path = f"/proc/self/fd/{outputs[stream]}" if stream in outputs else "/dev/null"
        ends.append(os.open(path, os.O_WRONLY | os.O_CLOEXEC))
    return Pipes((ends[0], ends[1], ends[2]), order.pipes.operator)
