"""What whoever approves a capability needs of the keeper: one call, and what comes of it.

A capability is built while the agent still runs; then the bottle is taken down and booted again with one more layer, in
the same keeper process: same identity, lock, socket, journal and clients, same home and workspace, the conversation
resumed with a note. `Rebooter` (in `reboot`) keeps this contract; nothing here does anything.

Applied exactly once: the record's `layers` is the truth. Before the bottle goes down the layer is written there, in one
atomic write; from then on every boot of this identity has it, whatever happens. So an approval that finds its capability
in `record.layers` has been applied (`applied`), one that does not has not, and asking again for what is there is no
second application: `apply` then reports APPLIED at once and reboots nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from claude_bottle.keeper.order import Order
    from claude_bottle.keeper.rewinding import Rewinding
    from claude_bottle.model.capability import Capability
    from claude_bottle.state.record import BottleRecord

APPLIED, FAILED, PRESERVED = "applied", "failed", "preserved"


class Approved(NamedTuple):
    """A decision to carry out. `request` is its id, for the journal; `note` is what the agent reads in its conversation
    once it has the tool: what was decided and what it got, our own words, plain text, no control characters but newlines,
    at most NOTE_LIMIT characters."""

    request: str
    capability: Capability
    note: str


NOTE_LIMIT = 2000


class Outcome(NamedTuple):
    """What came of it.

    APPLIED: the bottle runs with the layer, the agent has been told in its conversation (or it had the layer already).
    FAILED: it could not be built, `why` is the end of what the build said, sanitised; nothing else has happened, the agent
    runs on and wants to hear it. PRESERVED: the layer is built and recorded, but the bottle did not come up again or ended
    before it could; its state is kept and `resume` continues with the layer; `why` says what went wrong.
    """

    how: str
    why: str = ""


Told = Callable[[Outcome], None]
Progress = Callable[[str], None]
Amend = Callable[["Order"], "Order"]


class Reboots(Protocol):
    """The keeper's `rebooter`. All calls are made on the keeper's loop, and none blocks."""

    amend: list[Amend]
    """Called in order on the order of the next boot, before it is used: who granted something live (rules, ports,
    credentials) puts it into `order.gate` and `order.ports` here, or the new gate would not know of it. The nonce and
    refreshed credentials are the rebooter's own business."""

    @property
    def busy(self) -> str:
        """What is being done, one line, for `status` and the dashboard ("" while nothing is)."""

    def apply(self, approved: Approved, told: Told, progress: Progress) -> None:
        """Carry it out. `told` is called exactly once, unless the keeper dies first; `progress` any number of times before
        with one sanitised line of the build. What is asked for while another one is under way waits for its turn (all
        that have been built by then come up in one reboot). Never raises: a capability this backend cannot build is
        FAILED. While it reboots the gate is another one: a request that waits in the old one is not answered, the note
        is its answer."""

    def rewind(self, to: Rewinding) -> None:
        """Take the bottle down, back to a checkpoint, and up again. BottleError while anything else is under way, or for a
        bottle without a terminal."""


def applied(record: BottleRecord, capability: Capability) -> bool:
    """Whether every boot of this bottle from now on has it. For reconciling requests after a crash."""
    return any(layer.digest == capability.digest for layer in record.layers)
