"""What one gate knows and how it decides: policy, names, credentials, certificates, budget, and whether it is halted.

Every connection and request, however it arrived, is judged by `connect` and `request` here and by nothing else; the
same canonical host and port then choose credential, dialled place, certificate check and journal line. The policy may be
replaced while the bottle runs: what is under way is then judged again (`stands`). No I/O.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Collection, Iterable
from typing import TYPE_CHECKING

from claude_bottle.gate import core
from claude_bottle.gate.budget import Budget
from claude_bottle.gate.dns import INTERNAL_NAME, AddressBook
from claude_bottle.gate.inject import Injector
from claude_bottle.gate.money import Money
from claude_bottle.gate.wide_names import WideNames
from claude_bottle.model.policy import (
    BUDGET_SPENT,
    GATE_HALTED,
    MONEY_SPENT,
    NAME_NOT_ADMITTED,
    TUNNEL,
    Decision,
    Policy,
    Rule,
)
from claude_bottle.values import dataclass, field

if TYPE_CHECKING:
    import ssl

    from claude_bottle.gate.ca import Authority
    from claude_bottle.gate.pages import Pages

_OF_GRANT = "grant "


@dataclass
class GateState:
    """Everything the conversations of one bottle share. `client_tls` gives the context an origin is verified with;
    `operator_named` is as in `Policy`."""

    policy: Policy
    client_tls: Callable[[core.Origin], ssl.SSLContext]
    authority: Authority | None = None
    injector: Injector = field(default_factory=lambda: Injector(()))
    explicit_proxy: bool = True
    operator_named: Collection[tuple[str, int]] = ()
    budget: Budget = field(default_factory=Budget)
    money: Money = field(default_factory=Money)
    halted: bool = False
    judges: bool = False
    """Whether pushes can be judged here at all."""
    clock: Callable[[], float] = time.monotonic

    def __post_init__(self) -> None:
        self.wide_names = WideNames(self.clock)
        self.book = AddressBook(self.policy.names(), self._admits)
        self.revision = 0
        self.once: frozenset[str] = frozenset()
        """Grants in the policy that are good for one request or tunnel."""
        self._lasting = self.policy
        self._used: set[str] = set()
        self._revoked: set[str] = set()
        self._pages: Pages | None = None

    # Judging

    def connect(self, host: str, port: int) -> Decision:
        """May a connection to this canonical place begin?"""
        if self.halted:
            return Decision(False, GATE_HALTED)
        found = self._lasting.connect(host, port)
        found = found if found.allow else self.policy.connect(host, port)
        # Where requests are judged one by one, they are refused with words, not the connection without.
        if found.allow and self.policy.by_wildcard(host) and not self.wide_names.admit(host):
            return Decision(False, NAME_NOT_ADMITTED)
        opaque = found.rule is not None and found.rule.tls == TUNNEL
        return Decision(False, BUDGET_SPENT) if opaque and self.budget.spent_up else found

    def request(
        self, host: str, port: int, method: str, path: str, *, tls: bool, query: str | None = None,
        signs_in: Collection[str] = (), websocket: bool = False,
    ) -> Decision:  # fmt: skip
        """May this request go up? `signs_in` names the credentials whose placeholders it carries: a grant for one use is
        not spent on what a lasting rule grants, unless only it has that credential."""
        if self.halted:
            return Decision(False, GATE_HALTED)
        lasting = found = self._lasting.request(host, port, method, path, tls=tls, query=query, websocket=websocket)
        if self.once:
            best = self.policy.request(host, port, method, path, tls=tls, query=query, websocket=websocket)
            own = best.rule.credential if best.rule else None
            had = lasting.rule.credential if lasting.rule else None
            if not lasting.allow or (own in signs_in and own != had):
                found = best
        if found.allow and self.policy.by_wildcard(host) and not self.wide_names.admit(host):
            return Decision(False, NAME_NOT_ADMITTED)
        if found.allow and self.money.refuses(method, path):
            return Decision(False, MONEY_SPENT)
        return Decision(False, BUDGET_SPENT) if found.allow and self.budget.spent_up else found

    def _admits(self, name: str) -> bool:
        return not self.halted and self.policy.by_wildcard(name) and self.wide_names.admit(name)

    def stands(
        self, rule: Rule, host: str, port: int, method: str, path: str, *, tls: bool, websocket: bool = False
    ) -> bool:
        """Whether what `rule` has let through may go on now: it is the one use its grant was for, or a lasting rule grants
        the same, with the same credential if one went up."""
        grant = grant_of(rule)
        if grant in self._used:
            return grant not in self._revoked
        if rule.tls == TUNNEL:
            again = self._lasting.connect(host, port)
            return again.allow and again.rule is not None and again.rule.tls == TUNNEL
        if rule in self._lasting.rules:
            return True
        again = self._lasting.request(host, port, method, path, tls=tls, websocket=websocket)
        return again.allow and again.rule is not None and rule.credential in (None, again.rule.credential)

    def granted(self, host: str, port: int) -> bool:
        """Whether the policy knows this place, at the moment."""
        return self.policy.connect(host, port).allow

    # Changes

    def replace_policy(
        self, rules: Iterable[Rule], *, revision: int, once: Iterable[str] = (), revoked: Iterable[str] = ()
    ) -> None:
        """From now on these rules and no others; those of grants that have been used up stay out whatever is said.
        `revoked`: grants of which even the one use they were for must end. ValueError or OverflowError when the rules
        cannot be in force together; then nothing has changed."""
        kept = [rule for rule in rules if grant_of(rule) not in self._used]
        self._enforce(Policy(kept, operator_named=self.operator_named), frozenset(once) - self._used)
        self._revoked.update(revoked)
        self.revision = revision

    def _enforce(self, policy: Policy, once: frozenset[str]) -> None:
        lasting = (rule for rule in policy.rules if grant_of(rule) not in once)
        only_lasting = Policy(lasting, operator_named=self.operator_named) if once else policy
        self.book.answer_for(policy.names())
        self.policy, self._lasting, self.once = policy, only_lasting, once

    def use(self, rule: Rule) -> list[core.Command]:
        """Something goes through by `rule`, now. A grant for one use is gone with it, before anyone else is judged."""
        grant = grant_of(rule)
        if grant not in self.once:
            return []
        self._used.add(grant)
        left = (one for one in self.policy.rules if grant_of(one) != grant)
        self._enforce(Policy(left, operator_named=self.operator_named), self.once - {grant})
        return [core.Tell("used", {"grant": grant})]

    # Names

    def dialled_name(self, address: str) -> str | None:
        """The name a connection to `address` meant; None when no name was given that address."""
        return INTERNAL_NAME if address == "127.0.0.1" else self.book.name(address)

    @property
    def pages(self) -> Pages:
        """The gate's own pages, made when somebody first asks for one: most bottles never do."""
        if self._pages is None:
            from claude_bottle.gate.pages import Pages

            self._pages = Pages(self)
        return self._pages


def grant_of(rule: Rule) -> str:
    """The id of the grant that brought this rule, "" for one that the bottle began with."""
    return rule.origin[len(_OF_GRANT) :] if rule.origin.startswith(_OF_GRANT) else ""


def new_id() -> str:
    """A fresh id that ties an answer to its journal line."""
    return f"r-{os.urandom(6).hex()}"
