"""All a keeper has of requests, as one thing that costs nothing until somebody asks: its parts are made and imported then.

May touch nothing itself; see `Requests`, `Asking`, `Deciding` and `Waiting`.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

from claude_bottle.errors import BottleError
from claude_bottle.keeper.gate_events import cost_of
from claude_bottle.values import replace

if TYPE_CHECKING:
    from claude_bottle.keeper.asking import Asking
    from claude_bottle.keeper.boot import Booted
    from claude_bottle.keeper.control import Connection
    from claude_bottle.keeper.credentials import Values
    from claude_bottle.keeper.deciding import Deciding
    from claude_bottle.keeper.gate_link import Message
    from claude_bottle.keeper.inbox import Requests
    from claude_bottle.keeper.order import Order
    from claude_bottle.keeper.reboot_contract import Reboots
    from claude_bottle.keeper.session import Session
    from claude_bottle.keeper.waiting import Waiting

# What a gate says that is not an event.
OF_GATES = frozenset({"ask", "used", "policy_set", "policy_refused"})


class Parts(NamedTuple):
    requests: Requests
    asking: Asking
    deciding: Deciding
    waiting: Waiting


class Desk:
    """`parts` makes them. A bottle that was resumed with requests or grants has them from the beginning."""

    def __init__(self, order: Order, booted: Booted, session: Session | None, rebooter: Reboots) -> None:
        self._order, self._booted, self._session, self._rebooter = order, booted, session, rebooter
        rebooter.amend.append(self._amended)
        self._closed = False
        self.spent = 0
        """Bytes that the bottle has sent, as the gate counts."""
        self._money_before, self.money = order.gate.money_spent if order.gate else 0, 0
        """Millionths of a dollar that it had spent, and has spent since."""
        if order.inbox and (order.inbox.inbox.requests or order.inbox.inbox.grants):
            self.parts  # noqa: B018  # made now: grants run out, what waits is told

    @cached_property
    def parts(self) -> Parts:
        from claude_bottle.keeper.asking import Asking
        from claude_bottle.keeper.deciding import Deciding
        from claude_bottle.keeper.inbox import Requests
        from claude_bottle.keeper.waiting import Waiting

        requests = Requests(self._order, self._booted, self._rebooter)
        return Parts(requests, Asking(requests), Deciding(requests), Waiting(requests, self._session))

    @property
    def _made(self) -> Parts | None:
        found: Parts | None = self.__dict__.get("parts")
        return found

    def hear(self, message: Message) -> bool:
        """Whether a message of the gate was about requests, or about what it counts for them."""
        if message.get("op") == "event":
            self.money += cost_of(message)
            return False
        if message.get("op") == "spent":
            spent = message.get("egress_bytes")
            self.spent = spent if type(spent) is int and spent >= 0 else self.spent
            return False  # and the settlement's part keeps it over the runs
        return message.get("op") in OF_GATES and not self._closed and self.parts.asking.heard(message)

    def greet(self, connection: Connection) -> None:
        """Tell a terminal that has just been attached what waits, or stands."""
        message = self._title()
        if message["title"]:
            connection.send(message)

    def stand(self, title: str) -> None:
        """What the titles of attached terminals say while no request waits; "" for their own."""
        if self._session:
            self._session.standing = title
            self._session.say(self._title())

    def _title(self) -> Message:
        if self._made:
            return self._made.waiting.message()
        return {"op": "waiting", "title": self._session.standing if self._session else "", "bell": False}

    def refreshed(self, values: Values) -> None:
        """The gate has been told new values of credentials."""
        if self._made:
            self._made.requests.granting.vault.refreshed(values)

    def renew(self, order: Order, booted: Booted) -> None:
        """The bottle has booted again: requests and grants are about this one, whose gate has them from its boot."""
        self._order, self._booted = order, booted
        if self._made:
            self._made.requests.renew(order, booted)

    def _amended(self, order: Order) -> Order:
        """The order of the bottle's next life, with what has been granted and counted in this one."""
        if order.gate is not None:
            gate = order.gate
            sent, money = max(self.spent, gate.egress_spent), self._money_before + self.money
            order = replace(order, gate=replace(gate, egress_spent=sent, money_spent=max(money, gate.money_spent)))
        return self._made.requests.granting.amended(order) if self._made else order

    def gate_gone(self) -> None:
        if self._made:
            self._made.requests.granting.line.gone()

    def deciding(self) -> Deciding:
        """For an operator's client. BottleError when nothing can be decided any more."""
        if self._closed:
            raise BottleError("the bottle is ending")
        return self.parts.deciding

    def close(self) -> None:
        """The bottle is ending."""
        self._closed = True
        if self._made:
            self._made.waiting.close()
            self._made.requests.close()
