"""The gate's own pages, `http://bottle.internal/`: what this bottle is granted. Nothing secret, nothing of the host."""

from __future__ import annotations

from typing import TYPE_CHECKING

from claude_bottle.gate.audit import answer

if TYPE_CHECKING:
    from claude_bottle.gate.decide import GateState


def respond(state: GateState, method: str, path: str, *, close: bool) -> bytes:
    """The whole response to a request for `path`; GET and HEAD only."""
    head_only = method == "HEAD"
    if path in ("/", "/policy") and method in ("GET", "HEAD"):
        granted = [_grant(rule.to_dict()) for rule in state.policy.rules]
        return answer(200, {"granted": granted}, head_only=head_only, close=close)
    known: dict[str, object] = {"error": "not found", "pages": ["/policy"]}
    return answer(404, known, head_only=head_only, close=close)


def _grant(rule: dict[str, object]) -> dict[str, object]:
    """A rule as the agent may know it: what it allows, not where on the host it was written or why."""
    return {key: rule[key] for key in ("host", "port", "methods", "paths", "tls", "credential", "git") if key in rule}
