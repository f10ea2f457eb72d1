"""What the gate is told of the policy, and when it has said that it is in force.

Each `put` sends the whole policy under a new revision; the gate answers `policy_set`. Nothing waits here: whoever put one is
called back. A gate that does not answer in time is not believed to have done it. Over the control line and its descriptors
only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from claude_bottle.errors import BottleError
from claude_bottle.redact import printable

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from claude_bottle.keeper.boot import Booted
    from claude_bottle.keeper.loop import Timer
    from claude_bottle.keeper.vault import Vault
    from claude_bottle.model.policy import Rule

    Done = Callable[[str], None]

# For the gate to set a policy and cut what it no longer allows; it takes milliseconds.
ANSWER_SECONDS = 15.0
_GONE = "the gate has ended: the bottle has no network"


class PolicyLine:
    """The keeper's side. `done` of a put is called once: with "" when the policy is in force, else with why it is not."""

    def __init__(self, booted: Booted, vault: Vault, ports: Sequence[int]) -> None:
        self._booted, self._vault, self._ports = booted, vault, set(ports)
        self._revision = 0
        self._waiting: dict[int, tuple[Done, Timer]] = {}

    def renew(self, booted: Booted, ports: Sequence[int]) -> None:
        """There is another gate, which began with everything that was put."""
        self._booted, self._ports = booted, set(ports)
        for number in sorted(self._waiting):
            self._answer(number, "")

    @property
    def ports(self) -> tuple[int, ...]:
        """The ports beyond the usual ones that have a listener."""
        return tuple(sorted(self._ports))

    def put(
        self, revision: int, rules: Sequence[Rule], once: Sequence[str], done: Done, *,
        revoked: Sequence[str] = (), egress_bytes: int | None = None, money: int | None = None,
    ) -> None:  # fmt: skip
        """`once`: the grants that one use ends; `revoked`: those of which even that use must end. `egress_bytes`: what may
        go out in all, `money`: what may be spent, None where there is no bound."""
        gate = self._booted.gate
        if gate is None or not gate.up:
            done(_GONE)
            return
        # Those that are still to be answered belong to a policy that this one replaces: it answers for them.
        self._revision = max(self._revision + 1, revision)
        number = self._revision
        late = self._booted.loop.later(ANSWER_SECONDS, lambda: self._late(number))
        self._waiting[number] = (done, late)
        gate.tell("policy", revision=number, rules=[rule.to_dict() for rule in rules], once=list(once), revoked=list(revoked),
                  credentials=self._vault.to_wire(rules), egress_bytes=egress_bytes, money=money)  # fmt: skip
        if expired := self._vault.expired():
            gate.tell("credentials", values=expired)

    def listen(self, ports: Sequence[int]) -> None:
        """Open these in the bottle and hand their listeners to the gate. BottleError when one cannot be."""
        gate = self._booted.gate
        for port in ports:
            if gate is None or not gate.up:
                raise BottleError(_GONE)
            gate.open_port(self._booted.bottle, port)
            self._ports.add(port)

    def heard(self, revision: object) -> None:
        """The gate says that this one is in force, and with it all before."""
        if type(revision) is not int:
            return
        for number in [number for number in sorted(self._waiting) if number <= revision]:
            self._answer(number, "")

    def refused(self, revision: object, why: object) -> None:
        """The gate cannot have this one in force; the one before still is."""
        if type(revision) is int:
            self._answer(revision, f"the gate refused it: {printable(str(why), width=300)}")

    def gone(self) -> None:
        """There is no gate any more: nothing of what waits will come into force."""
        for number in sorted(self._waiting):
            self._answer(number, _GONE)

    def _late(self, number: int) -> None:
        self._answer(number, f"the gate did not answer within {ANSWER_SECONDS:g} s")

    def _answer(self, number: int, why: str) -> None:
        found = self._waiting.pop(number, None)
        if found:
            found[1].cancel()
            found[0](why)
