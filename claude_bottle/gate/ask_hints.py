"""What a refusal tells the agent to do: how to ask for exactly what was refused, as a tool call and as a plain POST. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING

from claude_bottle.model import policy as reasons
from claude_bottle.model.asking import MCP_SERVER, URL
from claude_bottle.model.git_request import FETCH, PUSH, WORDS

if TYPE_CHECKING:
    from claude_bottle.gate.audit import Attempt

_MAX_PATH = 256
_ANYHOW = f"GET {URL}/policy shows what is granted and how to ask for more"
_PLACES = (reasons.HOST_NOT_GRANTED, reasons.PORT_NOT_GRANTED, reasons.METHOD_NOT_GRANTED, reasons.PATH_NOT_GRANTED)
_TURNED_OFF = {
    reasons.BAD_REQUEST: "the request is ambiguous or malformed; send a plain HTTP/1 request",
    reasons.BAD_HOST: "use the host's plain DNS name",
    reasons.NAME_MISMATCH: "connect to the address its DNS name resolves to, and use one name throughout",
    reasons.NO_SNI: "the TLS client must send the host's name (SNI), and in a tunnel no encrypted hello (ECH)",
    reasons.NOT_TLS: "this port takes TLS",
    reasons.NOT_HTTP: "this port takes HTTP",
    reasons.CREDENTIAL_NEEDS_TLS: "credentials are sent over https only",
    reasons.CREDENTIAL_EXPIRED: "the operator's credential has expired and could not be read again; try again later",
    reasons.UPGRADE_REFUSED: "no HTTP/2, and a WebSocket only where the operator's rule says websocket",
    reasons.BODY_TOO_LARGE: "the operator's rule bounds what one request may send; send less at a time",
    reasons.ADDRESS_REFUSED: "the name leads to an address that is not on the public internet",
    reasons.RESOLVE_FAILED: "the name does not resolve at the moment",
    reasons.UPSTREAM_FAILED: "the server could not be reached or answered nonsense; try again later",
    reasons.UPSTREAM_TLS: "the server's certificate could not be verified",
    reasons.TOO_LARGE: "the request's head is too large",
    reasons.NAME_NOT_ADMITTED: "the wildcard that grants it is for a few plain names; wait, or ask for the host itself",
    reasons.GATE_HALTED: "the journal cannot be written, so nothing is let through; the operator must look",
}


def ask_hint(attempt: Attempt, reason: str) -> str:
    """One or two sentences. Says nothing but what the agent has itself said."""
    if reason in _PLACES:
        rule = _rule(attempt, reason)
        return _how("request_egress", {"rules": [rule]}, {"kind": "egress", "rules": [rule]})
    if reason == reasons.CREDENTIAL_FOREIGN:
        place = {"host": attempt.host[:253], "port": attempt.port}
        change = {"kind": "credential", "rule": {"credential": "…", **place}}
        how = _how("request_credential", {"name": "…", **place}, change)
        return f"on this host only the credential from the environment may be used, where it belongs; {how}"
    if reason == reasons.BUDGET_SPENT:
        more: dict[str, object] = {"egress_bytes": 10_000_000}
        return "what this bottle may send is used up; " + _how("request_budget", more, {"kind": "budget", **more})
    if reason == reasons.MONEY_SPENT:
        spent = "what this bottle may spend at the model's API is used up, or what this request costs could not be told; "
        return spent + _how("request_budget", {"usd": 1}, {"kind": "money", "usd": 1})
    return _TURNED_OFF.get(reason, _ANYHOW)


def git_hint(attempt: Attempt, reason: str) -> str:
    """The same for whoever runs git: what is refused and why, in one line."""
    asked = attempt.git
    if asked is None or reason not in (reasons.GIT_NOT_GRANTED, reasons.GIT_REFUSED):
        return ask_hint(attempt, reason)
    if asked.kind not in (FETCH, PUSH):
        return WORDS.get(asked.kind, "")
    verb = "fetched from" if asked.kind == FETCH else "pushed to"
    return f"{attempt.host[:253]}/{asked.repository} may not be {verb} here; {_ANYHOW}"


def _rule(attempt: Attempt, reason: str) -> dict[str, object]:
    rule: dict[str, object] = {"host": attempt.host[:253]}
    if attempt.port != 443:
        rule["port"] = attempt.port
    if attempt.method not in ("", "CONNECT", "TUNNEL"):
        rule["methods"] = [attempt.method[:32]]
        if reason == reasons.PATH_NOT_GRANTED and len(attempt.path) <= _MAX_PATH and "*" not in attempt.path:
            rule["paths"] = [attempt.path]
    return rule


def _how(tool: str, arguments: Mapping[str, object], change: Mapping[str, object]) -> str:
    why = {"reason": "why you need it"}
    return (
        f"to ask the operator, call the tool {tool} of the MCP server {MCP_SERVER} with {_text({**arguments, **why})} and "
        f"wait for its answer; without MCP: POST {URL}/request?wait=600 with content-type application/json and "
        f"{_text({**change, **why})}"
    )


def _text(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)
