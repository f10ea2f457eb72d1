"""The tools an agent asks with: what they are called, what they take, and the change each call stands for.

The words here are read by a model: they say when to use a tool, what to put in, and what will happen. The schemas are for
clients that check; `asked` checks again, strictly, and what may never be granted is refused here with the reason (floors),
before anyone is bothered with it. Pure.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from claude_bottle.errors import BottleError
from claude_bottle.gate import limits
from claude_bottle.model.changes import (
    FRAGMENT,
    MAX_BYTES,
    MAX_PATHS,
    MAX_RULES,
    MAX_TEXT,
    MAX_USD,
    PACKAGES,
    change_from_dict,
)
from claude_bottle.model.push_change import PushChange
from claude_bottle.model.requests import MAX_REASON

if TYPE_CHECKING:
    from claude_bottle.gate.decide import GateState
    from claude_bottle.model.changes import Change

STATUS, POLICY = "request_status", "my_policy"

INSTRUCTIONS = (
    "You work inside a bottle: a sandbox that can reach only what its operator has granted and has only the tools that were "
    "put into it. A 403 whose body says \"blocked\", a name that does not resolve, a connection that is refused, a missing "
    "program or credential: these are limits of the bottle, not faults, and there is no way around them from inside. Ask the "
    "operator with the request_* tools: exactly what you need, no more, with the reason in one or two plain sentences. The "
    "call waits until a person has decided, which may take minutes; do not repeat it meanwhile. What is approved works at "
    "once (a new tool: after a restart in which this conversation goes on by itself). If it is rejected, read why and find "
    "another way, or say what you cannot do."
)  # fmt: skip

_WAITS = (
    " Waits until the operator has decided, which may take minutes, and returns what was decided in words. Do not call it "
    "again for the same thing meanwhile."
)
_METHODS = {
    "type": "array", "items": {"type": "string", "pattern": "^[A-Z][A-Z-]{0,31}$"}, "maxItems": MAX_PATHS,
    "description": "HTTP methods needed, such as GET or POST, in capitals. Leave out for any; naming them makes approval "
    "likelier.",
}  # fmt: skip
_PATHS = {
    "type": "array", "items": {"type": "string", "pattern": "^/", "maxLength": MAX_TEXT}, "maxItems": MAX_PATHS,
    "description": "Path patterns needed: * within a segment, ** across segments, such as /repos/acme/**. Leave out for any.",
}  # fmt: skip
_HOST = {"type": "string", "maxLength": 253,
         "description": "One exact DNS name such as api.example.com: no URL, no address, no wildcard."}  # fmt: skip
_PORT = {"type": "integer", "minimum": 1, "maximum": 65535}
_RULE = {
    "type": "object", "required": ["host"], "additionalProperties": False,
    "properties": {
        "host": _HOST, "port": {**_PORT, "description": "443 if left out."}, "methods": _METHODS, "paths": _PATHS,
        "tls": {"enum": ["inspect", "tunnel"],
                "description": "inspect (default): HTTP, each request is judged. tunnel: any protocol, nothing is judged in "
                "it; only for what is not HTTP."},
        "websocket": {"type": "boolean", "description": "true where a GET must become a WebSocket; false if left out."},
    },
}  # fmt: skip
_REASON = {"type": "string", "minLength": 1, "maxLength": MAX_REASON,
           "description": "For the operator: what you are doing and why it needs this, in one or two sentences."}  # fmt: skip
_WAIT = {"type": "number", "minimum": 0, "maximum": limits.LONGEST_WAIT,
         "description": "Return after this many seconds even if nothing is decided yet; then ask request_status later. "
         "Leave out to wait for the decision."}  # fmt: skip
_LIST = {"type": "array", "items": {"type": "string"}, "minItems": 1}

_OUTCOME: dict[str, Any] = {
    "type": "object", "required": ["id", "state", "decided", "text"],
    "properties": {
        "id": {"type": "string", "description": "The request's id, for request_status."},
        "state": {"type": "string", "description": "submitted, approved, applied, rejected, expired, superseded or failed."},
        "decided": {"type": "boolean"},
        "text": {"type": "string", "description": "What was decided, and what to do now."},
    },
}  # fmt: skip


def _tool(name: str, title: str, text: str, properties: dict[str, Any], required: list[str]) -> dict[str, Any]:
    asks = name.startswith("request_") and name != STATUS
    if asks:
        properties, required = {**properties, "reason": _REASON, "wait_seconds": _WAIT}, [*required, "reason"]
        text += _WAITS
    schema = {"type": "object", "properties": properties, "required": required, "additionalProperties": False}
    made = {"name": name, "title": title, "description": text, "inputSchema": schema,
            "annotations": {"title": title, "readOnlyHint": not asks, "destructiveHint": False, "idempotentHint": not asks,
                            "openWorldHint": False},
            "_meta": {"anthropic/alwaysLoad": True}}  # fmt: skip
    return made if name == POLICY else {**made, "outputSchema": _OUTCOME}


TOOLS = (
    _tool("request_egress", "Ask for hosts",
          "Ask the operator to let this bottle reach one or more hosts. Use it when a request was answered 403 with "
          '"blocked": true, or when a name does not resolve. Put everything that one purpose needs into one call (pip needs '
          "pypi.org and files.pythonhosted.org). Never ask for more than you need. Once approved, repeat what failed: it "
          "works at once, nothing is restarted.",
          {"rules": {"type": "array", "items": _RULE, "minItems": 1, "maxItems": MAX_RULES}}, ["rules"]),
    _tool("request_credential", "Ask for a credential",
          "Ask the operator to let requests to one place carry one of the operator's credentials. You never see its value: "
          "the answer, or my_policy, names a placeholder to send in its place, which is replaced on the way. Only over TLS, "
          "only on the paths granted.",
          {"name": {"type": "string", "maxLength": 64, "description": "What the credential is called, such as github."},
           "host": _HOST, "port": {**_PORT, "description": "443 if left out."}, "methods": _METHODS, "paths": _PATHS},
          ["name", "host"]),
    _tool("request_capability", "Ask for a tool",
          "Ask the operator to put programs or packages into this bottle, when a command is missing and cannot be had "
          f"otherwise. Exactly one of {', '.join(PACKAGES)} or {FRAGMENT}. After approval the bottle is rebuilt and "
          "started again, and this conversation goes on by itself with a note; processes that run in the bottle end.",
          {**{kind: {**_LIST, "description": text} for kind, text in PACKAGES.items()},
           FRAGMENT: {"type": "string", "description": "RUN and ENV lines, for what the others cannot do."},
           "network": {"type": "boolean", "description": f"With {FRAGMENT}: its RUN lines need the network."}}, []),
    _tool("request_port", "Ask for a port",
          "Ask the operator to let this bottle connect to one host on a port that is not for web traffic, such as a database "
          "or ssh. The connection is an opaque tunnel unless tls is inspect.",
          {"host": _HOST, "port": _PORT, "tls": {"enum": ["inspect", "tunnel"], "description": "tunnel if left out."}},
          ["host", "port"]),
    _tool("request_budget", "Ask for more to send, or to spend",
          "Ask the operator for more bytes that this bottle may send out, when requests are refused with budget_spent, or "
          "for more money that it may spend at the model's API. Exactly one of the two. my_policy tells what is left.",
          {"egress_bytes": {"type": "integer", "minimum": 1, "maximum": MAX_BYTES,
                            "description": "Bytes on top of what was granted."},
           "usd": {"type": "number", "minimum": 0.01, "maximum": MAX_USD,
                   "description": "US dollars, to the cent, on top of what was granted."}}, []),
    _tool(STATUS, "What became of a request",
          "Tell what has become of a request of this bottle, by its id. Does not wait.",
          {"id": {"type": "string", "maxLength": 64}}, ["id"]),
    _tool(POLICY, "What is granted",
          "Tell what this bottle may reach, what is left of its budget, and the requests made so far.", {}, []),
)  # fmt: skip
NAMES = frozenset(str(tool["name"]) for tool in TOOLS)
_BY_NAME: dict[str, dict[str, Any]] = {str(tool["name"]): tool for tool in TOOLS}


class NoSuchThing(ValueError):
    """What is asked for cannot be: the text tells the agent why, and what to write instead."""


def check(name: str, arguments: dict[str, object]) -> None:
    """That a call has the arguments its tool takes, by name. Raises NoSuchThing."""
    schema = _BY_NAME[name]["inputSchema"]
    if unknown := sorted(set(arguments) - set(schema["properties"])):
        raise NoSuchThing(f"{name} does not take {_few(unknown)}; it takes {', '.join(schema['properties'])}")
    if missing := [one for one in schema["required"] if one not in arguments]:
        raise NoSuchThing(f"{name} needs {', '.join(missing)}")


def asked(name: str, arguments: dict[str, object]) -> dict[str, object]:
    """The change a call of a request tool stands for, unchecked."""
    given = {key: value for key, value in arguments.items() if key not in ("reason", "wait_seconds")}
    match name:
        case "request_egress":
            return {"kind": "egress", "rules": given["rules"]}
        case "request_credential":
            return {"kind": "credential", "rule": {"credential": given.pop("name"), **given}}
        case "request_port":
            return {"kind": "egress", "rules": [{"tls": "tunnel", **given}]}
        case "request_budget":
            return {"kind": "money" if "usd" in given else "budget", **given}
        case _:
            return {"kind": "capability", "capability": given}


def checked(change: object, state: GateState) -> Change:
    """The change, if it may be asked for at all. Raises NoSuchThing."""
    try:
        made = change_from_dict(change, operator_named=state.operator_named)
        if isinstance(made, PushChange):
            raise ValueError("a push is asked for by pushing: what it changes is looked at then")
        return made
    except BottleError as refused:
        why = f"{refused.what}: {refused.why}" if refused.why else refused.what
    except (ValueError, TypeError) as refused:
        why = str(refused)
    except ImportError:
        why = "tools cannot be asked for in this bottle"
    raise NoSuchThing(f"this cannot be asked for: {why[:MAX_TEXT]}")


def reason(value: object) -> str:
    """The agent's words for the operator. Raises NoSuchThing."""
    if not isinstance(value, str) or not value.strip() or len(value) > MAX_REASON:
        raise NoSuchThing(f"reason is a text of 1 to {MAX_REASON} characters: what you are doing and why it needs this")
    return value


def seconds(value: object) -> float | None:
    """How long to wait; None for as long as it takes. Raises NoSuchThing."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= limits.LONGEST_WAIT:
        raise NoSuchThing("the time to wait is a number of seconds, 0 or more")
    return float(value)


def _few(names: list[str]) -> str:
    return ", ".join(name[:40] for name in names[:5])
