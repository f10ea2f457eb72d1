"""The question to the operator about one push: may these commits change files that run by themselves, and is what looks like
a secret in them none?

What was approved lies in the policy as a rule that grants nothing else (`GitGrant.approved`), so revoking, expiry and single
use are what they are for every grant. A push whose question is not answered yes is refused at once, with the request's id;
pushing the same commits again after the answer passes. Logic only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from claude_bottle.gate import core
from claude_bottle.model.push_change import Finding, PushChange

if TYPE_CHECKING:
    from claude_bottle.gate.conversation import Conversation
    from claude_bottle.gate.desk import Wait
    from claude_bottle.model.policy import Rule
    from claude_bottle.model.push import Asked


class Case(Protocol):
    """The push it is about."""

    asked: Asked
    origin: core.Origin
    conversation: Conversation

    @property
    def repository(self) -> str: ...
    def refuse(self, why: str, refs: dict[str, str] | None = None) -> None: ...


class Approval:
    """Asked at most once."""

    def __init__(self, case: Case) -> None:
        self._case = case
        self._wait: Wait | None = None
        self._why = ""

    def rules(self) -> list[Rule]:
        """What approves this push, at the moment."""
        case, place = self._case, (self._case.origin.host, self._case.origin.port)
        here = [rule for rule in case.conversation.state.policy.rules if (rule.host, rule.port) == place]
        return [rule for rule in here if rule.git and rule.git.approves(case.repository, case.asked.commands)]

    def lifts(self) -> tuple[bool, list[str]]:
        """Whether files that run by themselves are approved, and which findings are let through."""
        grants = [rule.git for rule in self.rules() if rule.git]
        return any(one.lifts_files for one in grants), sorted({key for one in grants for key in one.let_through})

    def ask(self, why: str, needs: dict[str, Any]) -> None:
        """Ask, with what the judge has found. The push is refused now or, with the request's id, a moment later."""
        from claude_bottle.gate.desk import Busy

        case, self._why = self._case, why
        try:
            triggers = tuple((str(kind), str(path)) for kind, path in needs["triggers"])
            secrets = tuple(Finding(*(str(word) for word in one)) for one in needs["secrets"])
            change = PushChange(case.origin.host, case.origin.port, case.repository, case.asked.commands, triggers,
                                str(needs["diff"]), secrets)  # fmt: skip
            self._wait, tell = case.conversation.state.pages.desk.ask(change.to_dict(), "", "http")
        except (ValueError, KeyError, TypeError, Busy) as problem:
            case.refuse(f"{why} (it cannot be asked for: {problem})")
            return
        case.conversation.commands += [tell, core.Await(self._wait)]

    def told(self, wait: Wait) -> None:
        """There is news of a request."""
        if wait is not self._wait or not (wait.id or wait.done):
            return
        self._wait = None
        self._case.conversation.state.pages.desk.leave(wait)
        if wait.id and not wait.done:
            self._case.refuse(f"{self._why}; asked as {wait.id}: once it is granted, push the same commits again")
        else:
            self._case.refuse(f"{self._why}; {wait.text}")
