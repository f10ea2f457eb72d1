"""Opaque tunnels, for rules that say `tunnel` and nothing else: dial, pass on what was read, then join in the kernel.

What may be checked has been checked before: the name (the synthetic address dialled, or CONNECT), and on port 443 that
the first bytes are a TLS hello for that very name. No credential, no path, no content is known from here on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from claude_bottle.gate import core
from claude_bottle.gate.core import CLIENT
from claude_bottle.model import policy as reasons

if TYPE_CHECKING:
    from claude_bottle.gate.audit import Attempt
    from claude_bottle.gate.conversation import Conversation
    from claude_bottle.model.policy import Rule


class TunnelStage:
    """`prefix`: client bytes read so far. `answer`: the client waits for an answer to its CONNECT."""

    def __init__(self, conversation: Conversation, attempt: Attempt, rule: Rule, prefix: bytes, answer: bool) -> None:
        self._conversation, self._attempt, self._rule, self._answer = conversation, attempt, rule, answer
        self._prefix = bytearray(prefix)
        self._started = conversation.state.clock()
        attempt.method = attempt.method or "TUNNEL"
        self._done = self._joined = False
        conversation.commands += [attempt.record(allow=True, rule=rule), *conversation.state.use(rule), core.Pause(CLIENT)]
        conversation.timer(None)  # the dial has its own deadline
        self._link = conversation.dial(core.Origin(attempt.host, attempt.port, tls=False), fresh=True)

    def received(self, link: int, data: bytes | bytearray | memoryview) -> None:
        self._prefix += data  # read before the pause took effect

    def dialled(self, link: int) -> None:
        conversation, budget = self._conversation, self._conversation.state.budget
        if not budget.takes(len(self._prefix)):
            self._refuse(link)
            return
        if self._answer:
            conversation.commands.append(core.Write(CLIENT, b"HTTP/1.1 200 Connection established\r\n\r\n"))
        if self._prefix:
            self._attempt.up += len(self._prefix)
            conversation.commands.append(core.Write(link, bytes(self._prefix)))
        conversation.commands.append(core.Splice(link, budget))
        conversation.over = self._joined = True  # the kernel moves the rest; only the tunnel's end is still heard

    def _refuse(self, link: int) -> None:
        self._conversation.abort(link)
        self._conversation.commands.append(self._attempt.record(allow=False, reason=reasons.BUDGET_SPENT))
        if self._answer:
            self._conversation.client.write(self._attempt.refusal(reasons.BUDGET_SPENT))
        self._conversation.finish(reasons.BUDGET_SPENT)

    def judged(self) -> None:
        """The policy has changed: a tunnel that it does not grant any more ends here."""
        conversation, attempt = self._conversation, self._attempt
        if self._done or conversation.state.stands(self._rule, attempt.host, attempt.port, "", "", tls=False):
            return
        why = "it is not granted any more"
        conversation.commands.append(attempt.record(allow=False, reason=reasons.HOST_NOT_GRANTED, detail=why))
        if self._joined:
            conversation.commands.append(core.Cut(why))
        else:
            conversation.finish(why)

    def failed(self, link: int, reason: str, detail: str) -> None:
        conversation = self._conversation
        if reason == reasons.ADDRESS_REFUSED:
            conversation.commands.append(self._attempt.record(allow=False, reason=reason, detail=detail))
        if self._answer:
            conversation.client.write(self._attempt.refusal(reason))
        conversation.finish(f"{reason}: {detail}")

    def spliced(self, up: int, down: int, why: str) -> None:
        self._attempt.up += up
        self._attempt.down += down
        if why == reasons.BUDGET_SPENT:
            self._conversation.commands.append(self._attempt.record(allow=False, reason=why))
        self.stop(why)

    def ended(self, link: int, *, truncated: bool = False) -> None:
        self._conversation.finish("the client left")

    def expired(self) -> None:
        self._conversation.finish("timed out")

    def drained(self) -> None:
        """Nothing was held back."""

    def stop(self, why: str) -> None:
        if not self._done:
            self._done = True
            elapsed = self._conversation.state.clock() - self._started
            self._conversation.commands.append(self._attempt.traffic(elapsed, why=why))
