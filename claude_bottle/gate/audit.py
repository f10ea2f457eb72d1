"""One journal line per decision, and the refusal the agent sees for it, with the same id.

`Attempt` collects what is known about a connection or request while it is being understood; a refusal at any moment has
the same shape. Paths are recorded without their query, headers and bodies never, so no secret can reach the journal.
A decision is recorded before anything goes up; what then passed (bytes, time) follows in one `traffic` line. Pure.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from claude_bottle.gate.answer import answer, response
from claude_bottle.gate.ask_hints import ask_hint, git_hint
from claude_bottle.gate.core import Record
from claude_bottle.gate.decide import new_id
from claude_bottle.gate.money import Unmetered
from claude_bottle.model import events
from claude_bottle.model import policy as reasons
from claude_bottle.model.git_request import LFS, GitRequest
from claude_bottle.values import dataclass, field

if TYPE_CHECKING:
    from collections.abc import Iterable

    from claude_bottle.model.policy import Rule
    from claude_bottle.model.push import Command

_STATUS = {
    reasons.BAD_REQUEST: 400, reasons.NOT_HTTP: 400, reasons.TOO_LARGE: 431, reasons.BODY_TOO_LARGE: 413,
    reasons.GATE_HALTED: 503, reasons.CREDENTIAL_EXPIRED: 503,
    reasons.RESOLVE_FAILED: 502, reasons.UPSTREAM_FAILED: 502, reasons.UPSTREAM_TLS: 502,
}  # fmt: skip
_MAX_TEXT = 2048
_UNMETERED = Unmetered()


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
    git: GitRequest | None = None
    """What it asks of git, on a host with rules for git."""
    said: str = ""
    """Why it is refused, in words for whoever runs git."""
    meter: Unmetered = _UNMETERED
    """What tells how much its answer costs."""
    pushed: dict[str, object] | None = None
    """What a push would do: the repository, the commands, and what was judged."""

    def push_of(self, commands: Iterable[Command]) -> None:
        """It is a push with these commands."""
        repository = self.git.repository if self.git else ""
        self.pushed = {"repository": repository, "commands": [command.to_dict() for command in commands]}

    def record(self, *, allow: bool, reason: str = "", rule: Rule | None = None, detail: str = "") -> Record:
        """The decision's journal line."""
        data = self._data()
        data |= {"allow": allow, "reason": reason}
        if detail:
            data["detail"] = detail[:_MAX_TEXT]
        data["rule"] = rule.to_dict() if rule else None
        if self.pushed is not None:
            data["push"] = dict(self.pushed)
        return Record(events.DECISION, data)

    def traffic(self, seconds: float, *, status: int = 0, why: str = "") -> Record:
        """What an allowed decision led to; `why` says how it ended if not well."""
        data = {"id": self.id, "host": self.host, "port": self.port, "up": self.up, "down": self.down}
        data |= {"ms": round(seconds * 1e3, 1), "status": status, "why": why[:_MAX_TEXT]}
        data |= self.meter.ended(self.up, failed=why.startswith(_FAILURES))
        return Record(events.TRAFFIC, data)

    def _data(self) -> dict[str, object]:
        return {
            "id": self.id, "via": self.via, "host": self.host[:_MAX_TEXT], "port": self.port,
            "method": self.method[:64], "path": self.path[:_MAX_TEXT],
        }  # fmt: skip

    def refusal(self, reason: str, *, head_only: bool = False, close: bool = True) -> bytes:
        """The HTTP answer for a refusal (contract §5). Never says more than the agent already knows."""
        status, words = _STATUS.get(reason, 403), self.said or git_hint(self, reason)
        if self.git is not None and self.git.kind != LFS:
            # Git shows its user a plain text and nothing else (show_http_message in remote-curl.c).
            text = f"claude-bottle: {reason}: {words} ({self.id})\n".encode()
            return response(status, b"text/plain", text, head_only=head_only, close=close)
        body = {
            "blocked": reason not in _FAILURES, "reason": reason, "host": self.host[:_MAX_TEXT], "port": self.port,
            "method": self.method[:64], "path": self.path[:_MAX_TEXT], "ask": ask_hint(self, reason),
            "request_id": self.id,
        }  # fmt: skip
        if self.git is not None:
            body["message"] = words  # what git-lfs shows
        return answer(status, body, head_only=head_only, close=close)


# Not refusals but failures further on: nothing an operator could grant.
_FAILURES = (reasons.RESOLVE_FAILED, reasons.UPSTREAM_FAILED, reasons.UPSTREAM_TLS)
