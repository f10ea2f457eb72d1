"""One journal line per decision, and the refusal the agent sees for it, with the same id.

`Attempt` collects what is known about a connection or request while it is being understood; a refusal at any moment has
the same shape. Paths are recorded without their query, headers and bodies never, so no secret can reach the journal.
A decision is recorded before anything goes up; what then passed (bytes, time) follows in one `traffic` line. Pure.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from claude_bottle.gate.core import Record
from claude_bottle.gate.decide import new_id
from claude_bottle.model import events
from claude_bottle.model import policy as reasons
from claude_bottle.model.git_request import FETCH, LFS, PUSH, WORDS, GitRequest
from claude_bottle.values import dataclass, field

if TYPE_CHECKING:
    from claude_bottle.model.policy import Rule

_ASK = "ask the operator to grant this: GET http://bottle.internal/policy shows what is granted"
_HINTS = {
    reasons.BAD_REQUEST: "the request is ambiguous or malformed; send a plain HTTP/1 request",
    reasons.BAD_HOST: "use the host's plain DNS name",
    reasons.NAME_MISMATCH: "connect to the address its DNS name resolves to, and use one name throughout",
    reasons.NO_SNI: "the TLS client must send the host's name (SNI), and in a tunnel no encrypted hello (ECH)",
    reasons.NOT_TLS: "this port takes TLS",
    reasons.NOT_HTTP: "this port takes HTTP",
    reasons.CREDENTIAL_FOREIGN: "on this host only the credential from the environment may be used, where it belongs",
    reasons.CREDENTIAL_NEEDS_TLS: "credentials are sent over https only",
    reasons.CREDENTIAL_EXPIRED: "the operator's credential has expired and could not be read again; try again later",
    reasons.UPGRADE_REFUSED: "connections cannot be upgraded (no WebSocket, no HTTP/2)",
    reasons.ADDRESS_REFUSED: "the name leads to an address that is not on the public internet",
    reasons.RESOLVE_FAILED: "the name does not resolve at the moment",
    reasons.UPSTREAM_FAILED: "the server could not be reached or answered nonsense; try again later",
    reasons.UPSTREAM_TLS: "the server's certificate could not be verified",
    reasons.GIT_NOT_GRANTED: "this repository is not granted to git here",
    reasons.GIT_REFUSED: "git's smart HTTP is served, and nothing else of git",
    reasons.PUSH_REFUSED: "the push was judged and refused",
    reasons.TOO_LARGE: "the request's head is too large",
    reasons.GATE_HALTED: "the journal cannot be written, so nothing is let through; the operator must look",
}
_STATUS = {
    reasons.BAD_REQUEST: 400, reasons.NOT_HTTP: 400, reasons.TOO_LARGE: 431, reasons.GATE_HALTED: 503,
    reasons.CREDENTIAL_EXPIRED: 503,
    reasons.RESOLVE_FAILED: 502, reasons.UPSTREAM_FAILED: 502, reasons.UPSTREAM_TLS: 502,
}  # fmt: skip
_PHRASES = {
    400: b"Bad Request", 403: b"Forbidden", 404: b"Not Found", 200: b"OK", 431: b"Request Header Fields Too Large",
    502: b"Bad Gateway", 503: b"Service Unavailable",
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
    git: GitRequest | None = None
    """What it asks of git, on a host with rules for git."""
    said: str = ""
    """Why it is refused, in words for whoever runs git."""
    pushed: dict[str, object] | None = None
    """What a push would do: the repository, the commands, and what was judged."""

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
        return Record(events.TRAFFIC, data)

    def _data(self) -> dict[str, object]:
        return {
            "id": self.id, "via": self.via, "host": self.host[:_MAX_TEXT], "port": self.port,
            "method": self.method[:64], "path": self.path[:_MAX_TEXT],
        }  # fmt: skip

    def refusal(self, reason: str, *, head_only: bool = False, close: bool = True) -> bytes:
        """The HTTP answer for a refusal (contract §5). Never says more than the agent already knows."""
        if self.git is not None and self.git.kind != LFS:
            return self._in_words(reason, head_only=head_only, close=close)
        body = {
            "blocked": reason not in _FAILURES, "reason": reason, "host": self.host[:_MAX_TEXT], "port": self.port,
            "method": self.method[:64], "path": self.path[:_MAX_TEXT], "ask": _HINTS.get(reason, _ASK),
            "request_id": self.id,
        }  # fmt: skip
        if self.git is not None:
            body["message"] = self._words(reason)  # what git-lfs shows
        return answer(_STATUS.get(reason, 403), body, head_only=head_only, close=close)

    def _in_words(self, reason: str, *, head_only: bool, close: bool) -> bytes:
        """For git, which shows its user a plain text and nothing else (http_message in remote-curl.c)."""
        text = f"claude-bottle: {self._words(reason)}\n".encode()
        return response(_STATUS.get(reason, 403), b"text/plain", text, head_only=head_only, close=close)

    def _words(self, reason: str) -> str:
        asked = self.git
        if self.said:
            return f"{reason}: {self.said} ({self.id})"
        if asked is None or reason not in (reasons.GIT_NOT_GRANTED, reasons.GIT_REFUSED, reasons.PUSH_REFUSED):
            return f"{reason}: {_HINTS.get(reason, _ASK)} ({self.id})"
        if asked.kind in (FETCH, PUSH):
            verb = "fetched from" if asked.kind == FETCH else "pushed to"
            what = f"{self.host[:_MAX_TEXT]}/{asked.repository} may not be {verb} here; {_ASK}"
        else:
            what = WORDS.get(asked.kind, "")
        return f"{reason}: {what} ({self.id})"


# Not refusals but failures further on: nothing an operator could grant.
_FAILURES = frozenset((reasons.RESOLVE_FAILED, reasons.UPSTREAM_FAILED, reasons.UPSTREAM_TLS))


def answer(status: int, body: dict[str, object], *, head_only: bool = False, close: bool = False) -> bytes:
    """A whole response with a JSON body."""
    return response(status, b"application/json", json.dumps(body).encode() + b"\n", head_only=head_only, close=close)


def response(status: int, kind: bytes, text: bytes, *, head_only: bool = False, close: bool = False) -> bytes:
    """A whole response with a body of the content type `kind`."""
    head = b"HTTP/1.1 %d %s\r\ncontent-type: %s\r\ncontent-length: %d\r\ncache-control: no-store\r\n%s\r\n" % (
        status, _PHRASES[status], kind, len(text), b"connection: close\r\n" if close else b"",
    )  # fmt: skip
    return head if head_only else head + text
