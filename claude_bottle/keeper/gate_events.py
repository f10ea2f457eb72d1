"""What a gate reports, as its keeper writes it down: lines of the journal, and what the bottle has sent.

A gate that hostile bytes have taken over must not tell what others did, nor take back what it has told.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from claude_bottle.errors import BottleError
from claude_bottle.model import events

if TYPE_CHECKING:
    from claude_bottle.keeper.boot import Booted
    from claude_bottle.keeper.order import Order


_MOST = 1 << 62


def record_gate_event(booted: Booted, message: dict[str, object], order: Order | None = None) -> None:
    """One message of the gate, as one line of the journal, or what it has spent. What no gate has to tell is a fault."""
    event = message.get("event")
    kind, data = (event.get("kind"), event.get("data")) if isinstance(event, dict) else (None, None)
    if message.get("op") == "event" and isinstance(kind, str) and kind in events.OF_GATES:
        booted.audit.record(kind, **(data if isinstance(data, dict) else {}))
        if order is not None and (micros := cost_of(message)):
            _note_money(order, booted, micros)
    elif message.get("op") == "event":
        booted.audit.fault("the gate reported what is not its own")
    elif message.get("op") == "fault":
        booted.audit.fault("gate fault", why=str(message.get("what"))[:2000])
    elif message.get("op") == "spent" and order is not None:
        _note_spent(order, booted, message.get("egress_bytes"))


def _note_spent(order: Order, booted: Booted, count: object) -> None:
    """A gate that says less than before has been taken over, or is none of ours: the larger number stays."""
    from claude_bottle.state.spent import note_spent, read_spent

    try:
        spent = read_spent(order.paths, order.identity)
        if type(count) is int and spent.egress_bytes < count < _MOST:
            note_spent(order.paths, order.identity, spent._replace(egress_bytes=count))
    except BottleError as problem:
        booted.audit.problem(problem)


def cost_of(message: dict[str, object]) -> int:
    """What an answer cost, in millionths of a dollar; 0 for a message that tells of none."""
    event = message.get("event")
    data = event.get("data") if isinstance(event, dict) and event.get("kind") == events.TRAFFIC else None
    micros = data.get("usd_micros") if isinstance(data, dict) else None
    return micros if type(micros) is int and 0 < micros < _MOST else 0


def _note_money(order: Order, booted: Booted, micros: int) -> None:
    """What one answer cost is added to what is written down."""
    from claude_bottle.state.spent import note_spent, read_spent

    try:
        spent = read_spent(order.paths, order.identity)
        note_spent(order.paths, order.identity, spent._replace(money=min(spent.money + micros, _MOST)))
    except BottleError as problem:
        booted.audit.problem(problem)
