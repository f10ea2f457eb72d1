"""One journal line per decision, and the refusal the agent sees for it, with the same id.

`Attempt` collects what is known about a connection or request while it is being understood; a refusal at any moment has
the same shape. Paths are recorded without their query, headers and bodies never, so no secret can reach the journal.
A decision is recorded before anything goes up; what then passed (bytes, time) follows in one `traffic` line. Pure.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from claude_bottle.gate.answer import answer
from claude_bottle.gate.ask_hints import ask_hint
from claude_bottle.gate.core import Record
from claude_bottle.gate.decide import new_id
from claude_bottle.model import events
from claude_bottle.model import policy as reasons
from claude_bottle.values import dataclass, field

if TYPE_CHECKING:
    from claude_bottle.model.policy import Rule

_STATUS = {
    reasons.BAD_REQUEST: 400, reasons.NOT_HTTP: 400, reasons.TOO_LARGE: 431, reasons.GATE_HALTED: 503,
    reasons.CREDENTIAL_EXPIRED: 503,
    reasons.RESOLVE_FAILED: 502, reasons.UPSTREAM_FAILED: 502, reasons.UPSTREAM_TLS: 502,
}  # fmt: skip
_MAX_TEXT = 2048


@dataclass
class Attempt:
    """What is known so far about one thing the bottle tries. Unknown parts are empty."""

    via: str
    """How it came: http, https, proxy, port-N."""
    host: str = ""
    port: int = 0
    method: str = ""
    path: str = ""
    id: str = field(default_factory=new_id)
    up: int = 0
    down: int = 0

    def record(self, *, allow: bool, reason: str = "", rule: Rule | None = None, detail: str = "") -> Record:
        """The decision's journal line."""
        data = self._data()
        data |= {"allow": allow, "reason": reason, "rule": rule.to_dict() if rule else None}
        if detail:
            data["detail"] = detail[:_MAX_TEXT]
        return Record(events.DECISION, data)

    def traffic(self, seconds: float, *, status: int = 0, why: str = "") -> Record:
        """What an allowed decision led to; `why` says how it ended if not well."""
        data = {"id": self.id, "host": self.host, "port": self.port, "up": self.up, "down": self.down}
        data |= {"ms": round(seconds * 1e3, 1), "status": status, "why": why[:_MAX_TEXT]}
        return Record(events.TRAFFIC, data)

    def _data(self) -> dict[str, object]:
        return {
            "id": self.id, "via": self.via, "host": self.host[:_MAX_TEXT], "port": self.port,
            "method": self.method[:64], "path": self.path[:_MAX_TEXT],
        }  # fmt: skip

    def refusal(self, reason: str, *, head_only: bool = False, close: bool = True) -> bytes:
        """The HTTP answer for a refusal (contract §5). Never says more than the agent already knows."""
        body = {
            "blocked": reason not in _FAILURES, "reason": reason, "host": self.host[:_MAX_TEXT], "port": self.port,
            "method": self.method[:64], "path": self.path[:_MAX_TEXT], "ask": ask_hint(self, reason),
            "request_id": self.id,
        }  # fmt: skip
        return answer(_STATUS.get(reason, 403), body, head_only=head_only, close=close)


# Not refusals but failures further on: nothing an operator could grant.
_FAILURES = frozenset((reasons.RESOLVE_FAILED, reasons.UPSTREAM_FAILED, reasons.UPSTREAM_TLS))
