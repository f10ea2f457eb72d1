"""`run`: our stdin, stdout and stderr and the agent's, joined for as long as this process lives; then how it ended."""

from __future__ import annotations

import json

from claude_bottle import log
from claude_bottle.errors import BottleError
from claude_bottle.keeper import spawn
from claude_bottle.keeper.client import Control, lost
from claude_bottle.keeper.order import Order
from claude_bottle.keeper.relay import Signals, Taker, pump
from claude_bottle.workflow.ending import tell

CAPTURE_LIMIT = 16 << 20


def run(order: Order, *, json_result: bool = False, taker: Taker | None = None) -> int:
    """Start it, move the bytes, return the agent's exit code. With `json_result` its output is captured (up to
    CAPTURE_LIMIT bytes a stream) and told in one JSON document; `taker` gets its stdout."""
    if order.pipes is None:
        raise BottleError("this bottle was planned for a terminal")
    out, err = bytearray(), bytearray()
    takers = (_into(out), _into(err)) if json_result else (taker, None)
    signals = Signals()
    try:
        # What can no longer be taken back is the agent's to hear of.
        up = spawn.start(order, signals.begin)
        with Control(order.paths, up.identity, up.connection) as control:
            try:
                outcome = pump(control, order.pipes, takers=takers, signals=signals)
            except KeyboardInterrupt:
                log.say(f"{up.identity} runs on (claude-bottle stop {up.identity} ends it)")
                raise
            settled = control.settled()
    finally:
        signals.end()
    if outcome.code is None or settled is None:
        raise lost(up.identity)
    if json_result:
        print(json.dumps({
            "identity": up.identity, "exit_code": outcome.code, "preserved": settled.get("preserved"),
            "plan_digest": order.plan.digest, "transcript": settled.get("transcript"), "stdout": out.decode(errors="replace"),
            "stderr": err.decode(errors="replace"),
        }, indent=2))  # fmt: skip
    tell(order.paths, up.identity, settled)
    return outcome.code


def _into(captured: bytearray) -> Taker:
    return lambda data: captured.extend(data[: max(0, CAPTURE_LIMIT - len(captured))])
