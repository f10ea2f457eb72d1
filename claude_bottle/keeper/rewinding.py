"""A running bottle that goes back to a checkpoint: its agent ends, and another begins where the checkpoint was taken.

The rebooter takes the bottle down and boots it again; this is what happens in between, when all that there is of it lies
here and nothing of it runs. What there was becomes a checkpoint first. Then it is decided (see `restoring`): a crash before
leaves the bottle as it was, one after it a bottle that `resume` finds at the checkpoint.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from claude_bottle.errors import BottleError
from claude_bottle.keeper import checkpointing, restoring
from claude_bottle.model import events
from claude_bottle.state import checkpoints

if TYPE_CHECKING:
    from claude_bottle.keeper.boot import Booted
    from claude_bottle.keeper.control import Message
    from claude_bottle.keeper.order import Order
    from claude_bottle.state.checkpoints import Checkpoint

Told = Callable[["Message | BottleError"], None]


class Rewinding:
    """To one checkpoint of a bottle. `told` is called once: with what has come of it, or why nothing has."""

    def __init__(self, to: Checkpoint, told: Told) -> None:
        self.to, self._told = to, told
        self._kept: Checkpoint | None = None
        self._problem: BottleError | None = None

    @property
    def described(self) -> str:
        return f"going back to the checkpoint {self.to.name}"

    def carry_out(self, order: Order, booted: Booted) -> None:
        """The bottle is down. Where what there is cannot be kept, nothing changes and the bottle goes on as it was. Raises
        when what was decided could not be completed: the bottle must not boot then."""
        record, paths = booted.store.load(order.identity), order.paths
        try:
            self._kept = checkpointing.take(paths, record, order.plan.workspace, "", running=False, made=checkpoints.REWIND)
            booted.audit.record(events.CHECKPOINT, name=self._kept.name, session=self._kept.session_id)
            booted.audit.record(events.REWOUND, durable=True, to=self.to.name, kept=self._kept.name)
            if booted.audit.halted:
                raise BottleError("the journal cannot be written", why="nothing may change unrecorded")
            restoring.decide(paths, order.identity, self.to)
        except (BottleError, OSError) as problem:
            self._problem = _as_ours(problem)
            booted.audit.fault(f"not rewound to {self.to.name}", why=self._problem.what)
            return
        try:
            restoring.complete(paths, order.identity)
        except (BottleError, OSError) as problem:
            self._problem = _as_ours(problem)
            raise

    def done(self) -> None:
        """The bottle is up again."""
        self._tell(self._problem or {"op": "rewound", "to": self.to.name, "kept": self._kept.name if self._kept else ""})

    def failed(self, identity: str, why: str) -> None:
        """The session ends here."""
        where = f"; {identity} is as it was at {self.to.name}" if self._kept and not self._problem else ""
        self._tell(self._problem or BottleError(f"the session did not go on: {why}{where}",
                                                do=f"claude-bottle resume {identity}"))  # fmt: skip

    def _tell(self, what: Message | BottleError) -> None:
        told, self._told = self._told, lambda _what: None
        told(what)


def _as_ours(problem: BottleError | OSError) -> BottleError:
    return problem if isinstance(problem, BottleError) else BottleError(str(problem))
