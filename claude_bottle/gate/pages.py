"""The gate's own pages, `http://bottle.internal/`: what this bottle is granted, and where it asks for more.

`/policy` tells what is granted; `/request` takes a request as plain JSON, `/request/<id>` tells what became of it; `/mcp`
is the same for MCP clients. Nothing secret and nothing of the host is shown, and nothing said here decides anything: a
request goes to the operator. Whole requests in, a reply or something to wait for out; no I/O.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple, Protocol
from urllib.parse import parse_qsl

from claude_bottle.gate import tools
from claude_bottle.gate.desk import Busy, Desk
from claude_bottle.gate.jsonrpc import BadMessage, read_object
from claude_bottle.model.asking import MCP_URL, URL
from claude_bottle.model.prices import MICROS
from claude_bottle.model.requests import REJECTED

if TYPE_CHECKING:
    from claude_bottle.gate.core import Command
    from claude_bottle.gate.decide import GateState
    from claude_bottle.gate.desk import Wait
    from claude_bottle.gate.head import Headers

_EVENTS = "text/event-stream"
_REQUEST = "/request/"
_HOW = (
    f"call the request_* tools of the MCP server {MCP_URL}, or POST {URL}/request?wait=600 with content-type "
    'application/json and a change with a reason, such as {"kind": "egress", "rules": [{"host": "crates.io", "methods": '
    '["GET"]}], "reason": "to fetch crates"}; kinds: egress, credential, capability, budget, money'
)


class Asked(NamedTuple):
    """One request to the gate, whole."""

    method: str
    path: str
    query: str
    headers: Headers
    body: bytes

    def header(self, name: bytes) -> str | None:
        """The field's value; several of the same name are none that counts."""
        found = [value for key, value in self.headers if key == name]
        return found[0].decode("latin-1") if len(found) == 1 else "" if found else None

    def accepts(self, kind: str) -> bool:
        """Whether the client takes this media type; one that says nothing takes any (RFC 9110 §12.5.1)."""
        said = self.header(b"accept")
        offered = {part.partition(";")[0].strip().lower() for part in said.split(",")} if said is not None else {"*/*"}
        return not offered.isdisjoint((kind, f"{kind.partition('/')[0]}/*", "*/*"))


class Reply(NamedTuple):
    """An answer that can be given at once."""

    status: int
    body: dict[str, object] | None = None
    headers: tuple[tuple[bytes, bytes], ...] = ()


class Voice(Protocol):
    """How one who waits is spoken to: what is said on a stream meanwhile, and the answer at the end."""

    def news(self, wait: Wait) -> bytes: ...
    def beat(self, waited: float) -> bytes: ...
    def last(self, wait: Wait) -> Reply: ...


class Pending(NamedTuple):
    """Something to wait for, `seconds` at most once it has an id (None: until it is decided). `streams`: as events."""

    wait: Wait
    voice: Voice
    seconds: float | None
    streams: bool
    commands: tuple[Command, ...]
    over: Callable[[], None]


class Pages:
    """The pages of one bottle."""

    def __init__(self, state: GateState) -> None:
        from claude_bottle.gate.mcp import Mcp

        self._state = state
        self.desk = Desk(state.clock)
        self._mcp = Mcp(state, self.desk, self.policy)

    def take(self, asked: Asked) -> Reply | Pending:
        """The answer to one request."""
        if refused := self._strange(asked):
            return refused
        if asked.path in ("/", "/policy"):
            return Reply(200, self.policy()) if asked.method in ("GET", "HEAD") else _not_allowed("GET")
        if asked.path == "/mcp":
            return self._mcp.take(asked)
        if asked.path == "/request":
            return self._request(asked)
        if asked.path.startswith(_REQUEST):
            return self._follow(asked)
        return Reply(404, {"error": "not found", "pages": ["/policy", "/request", "/mcp"], "ask": _HOW})

    def policy(self) -> dict[str, object]:
        """What the agent may know: what is allowed, not where on the host it was written or why."""
        state = self._state
        said: dict[str, object] = {
            "granted": [_grant(rule.to_dict(), rule.origin, state.once) for rule in state.policy.rules],
            "credentials": state.injector.placeholders(),
            "requests": self.desk.known(),
            "ask": _HOW,
        }
        if state.budget.limit is not None:
            said["budget"] = {"egress_bytes": state.budget.limit, "left": state.budget.left}
        if state.money.limit is not None:
            said["money"] = {"usd": state.money.limit / MICROS, "spent": state.money.spent / MICROS}
        return said

    def _strange(self, asked: Asked) -> Reply | None:
        """What a web page that some program in the bottle shows could send is not the agent's word: other origins are
        refused (MCP, streamable HTTP, "Security Warning"), and so is what browsers send without asking (Fetch §4.10)."""
        origin = asked.header(b"origin")
        if origin not in (None, URL):
            return Reply(403, {"error": "requests of other origins are not answered here"})
        kind = (asked.header(b"content-type") or "").partition(";")[0].strip().lower()
        if asked.method == "POST" and kind != "application/json":
            return Reply(415, {"error": "send content-type: application/json"})
        return None

    def _request(self, asked: Asked) -> Reply | Pending:
        if asked.method in ("GET", "HEAD"):
            return Reply(200, {"requests": self.desk.known()})
        if asked.method != "POST":
            return _not_allowed("GET, POST")
        try:
            change = read_object(asked.body)
            reason = tools.reason(change.pop("reason", None))
            seconds = _patience(asked)
            checked = tools.checked(change, self._state)
            wait, tell = self.desk.ask(checked.to_dict(), reason, "http")
        except BadMessage as bad:
            return Reply(400, {"error": bad.why, "ask": _HOW})
        except tools.NoSuchThing as none:
            return Reply(400, {"error": str(none), "ask": _HOW})
        except Busy as busy:
            return Reply(429, {"error": str(busy)}, ((b"retry-after", b"60"),))
        return self._pending(wait, asked, seconds, (tell,))

    def _follow(self, asked: Asked) -> Reply | Pending:
        if asked.method not in ("GET", "HEAD"):
            return _not_allowed("GET")
        try:
            seconds = _patience(asked)
            wait = self.desk.follow(asked.path[len(_REQUEST) :])
        except tools.NoSuchThing as none:
            return Reply(400, {"error": str(none)})
        except Busy as busy:
            return Reply(429, {"error": str(busy)}, ((b"retry-after", b"60"),))
        if wait is None:
            return Reply(404, {"error": "this bottle has made no such request", "requests": self.desk.known()})
        return self._pending(wait, asked, seconds, ())

    def _pending(self, wait: Wait, asked: Asked, seconds: float | None, commands: tuple[Command, ...]) -> Pending:
        streams = (asked.header(b"accept") or "").partition(";")[0].strip() == _EVENTS and asked.method != "HEAD"
        if not streams:
            seconds = seconds or 0.0
        return Pending(wait, _Plain(), seconds, streams, commands, lambda: self.desk.leave(wait))


class _Plain:
    """For clients without MCP: the request's state as JSON, or as events named `request`."""

    def news(self, wait: Wait) -> bytes:
        return event(_state(wait), b"request") if wait.id else b""

    def beat(self, waited: float) -> bytes:
        return COMMENT

    def last(self, wait: Wait) -> Reply:
        status = 429 if not wait.id and wait.state == REJECTED else 200 if wait.done else 202
        return Reply(status, _state(wait))


def _state(wait: Wait) -> dict[str, object]:
    return {"id": wait.id, "state": wait.state, "decided": wait.done, "text": wait.text}


COMMENT = b": the operator has not decided yet\n\n"


def event(data: dict[str, object], name: bytes = b"") -> bytes:
    """One server-sent event (HTML §9.2.6); JSON of ours has no line end in it."""
    import json

    return (b"event: %s\n" % name if name else b"") + b"data: " + json.dumps(data).encode() + b"\n\n"


def _patience(asked: Asked) -> float | None:
    try:
        found = [value for key, value in parse_qsl(asked.query, max_num_fields=16) if key == "wait"]
        return tools.seconds(float(found[0])) if found else None
    except ValueError:
        raise tools.NoSuchThing("wait is a number of seconds, such as ?wait=600") from None


def _not_allowed(allowed: str) -> Reply:
    return Reply(405, {"error": f"this page takes {allowed}"}, ((b"allow", allowed.encode()),))


def _grant(rule: dict[str, object], origin: str, once: frozenset[str]) -> dict[str, object]:
    shown = ("host", "port", "methods", "paths", "tls", "credential", "git")
    said: dict[str, object] = {key: rule[key] for key in shown if key in rule}
    return {**said, "once": True} if origin.removeprefix("grant ") in once else said
