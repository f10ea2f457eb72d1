"""The tools over MCP's streamable HTTP (modelcontextprotocol.io, specification 2025-11-25, "Transports").

One JSON-RPC message a POST. What can be answered at once is answered in JSON; a request to the operator is answered by a
stream of events that lasts until they have decided, with a sign of life now and then. A session is an id that a client was
given and the calls it has under way, which it may cancel. Every size and count is bounded. No I/O.
"""

from __future__ import annotations

import json
import os
from collections import OrderedDict
from collections.abc import Callable
from typing import TYPE_CHECKING

from claude_bottle import __version__
from claude_bottle.gate import jsonrpc, limits, tools
from claude_bottle.gate.desk import Busy, Desk, Wait
from claude_bottle.gate.jsonrpc import INVALID_PARAMS, METHOD_NOT_FOUND, BadMessage, Call, Id
from claude_bottle.gate.pages import COMMENT, Pending, Reply, event

if TYPE_CHECKING:
    from claude_bottle.gate.decide import GateState
    from claude_bottle.gate.pages import Asked

# Spoken are the last two; of older ones only what is the same (no batches). Clients that know neither say so and leave.
VERSIONS = ("2025-11-25", "2025-06-18")
_HEADER_VERSIONS = frozenset((*VERSIONS, "2025-03-26", "2024-11-05"))
_SESSION = b"mcp-session-id"


class Session:
    """`calls` are under way, by the id their client gave them."""

    def __init__(self) -> None:
        self.calls: dict[Id, Wait] = {}
        self.streams: list[Wait] = []

    def end(self) -> None:
        for wait in [*self.calls.values(), *self.streams]:
            wait.cancel()


class Mcp:
    """The endpoint of one bottle. `policy` gives what `my_policy` tells."""

    def __init__(self, state: GateState, desk: Desk, policy: Callable[[], dict[str, object]]) -> None:
        self._state, self._desk, self._policy = state, desk, policy
        self._sessions: OrderedDict[str, Session] = OrderedDict()
        self._streams = 0

    def take(self, asked: Asked) -> Reply | Pending:
        version = asked.header(b"mcp-protocol-version")
        if version is not None and version not in _HEADER_VERSIONS:
            return Reply(400, {"error": f"of MCP this speaks {' and '.join(VERSIONS)}"})
        match asked.method:
            case "POST":
                return self._post(asked)
            case "GET":
                return self._stream(asked)
            case "DELETE":
                session = self._session(asked)
                if isinstance(session, Session):
                    del self._sessions[asked.header(_SESSION) or ""]
                    session.end()
                    return Reply(204)
                return session
        return Reply(405, {"error": "POST, GET or DELETE"}, ((b"allow", b"POST, GET, DELETE"),))

    def _session(self, asked: Asked) -> Session | Reply:
        given = asked.header(_SESSION)
        if not given:
            return Reply(400, {"error": "begin with initialize, and send the Mcp-Session-Id it gives"})
        session = self._sessions.get(given)
        if session is None:
            return Reply(404, {"error": "this session is over; begin with initialize"})
        self._sessions.move_to_end(given)
        return session

    def _post(self, asked: Asked) -> Reply | Pending:
        if not (asked.accepts("application/json") and asked.accepts("text/event-stream")):
            return Reply(406, {"error": "accept application/json and text/event-stream"})
        try:
            call = jsonrpc.read(asked.body)
            if call.method == "initialize" and call.id is not None:
                return self._initialize(call)
            session = self._session(asked)
            if isinstance(session, Reply):
                return session
            return self._dispatch(session, call)
        except BadMessage as bad:
            return Reply(400 if bad.id is None else 200, bad.to_dict())

    def _initialize(self, call: Call) -> Reply:
        wanted = call.params.get("protocolVersion")
        session = os.urandom(16).hex()
        self._sessions[session] = Session()
        while len(self._sessions) > limits.MCP_SESSIONS:
            self._sessions.popitem(last=False)[1].end()
        value: dict[str, object] = {
            "protocolVersion": wanted if wanted in VERSIONS else VERSIONS[0],
            "capabilities": {"tools": {"listChanged": False}},
            "serverInfo": {"name": "claude-bottle", "title": "The operator of this bottle", "version": __version__},
            "instructions": tools.INSTRUCTIONS,
        }
        return Reply(200, jsonrpc.result(call.id, value), ((_SESSION, session.encode()),))

    def _dispatch(self, session: Session, call: Call) -> Reply | Pending:
        if call.id is None:
            if call.method == "notifications/cancelled":
                _cancel(session, call.params.get("requestId"))
            return Reply(202)
        match call.method:
            case "ping":
                return Reply(200, jsonrpc.result(call.id, {}))
            case "tools/list":
                if call.params.get("cursor") is not None:
                    raise BadMessage(INVALID_PARAMS, "there is one page of tools only", call.id)
                return Reply(200, jsonrpc.result(call.id, {"tools": list(tools.TOOLS)}))
            case "tools/call":
                return self._call(session, call, call.id)
        raise BadMessage(METHOD_NOT_FOUND, "this server has tools and nothing else", call.id)

    def _call(self, session: Session, call: Call, ident: Id) -> Reply | Pending:
        name, arguments = call.params.get("name"), call.params.get("arguments", {})
        if not isinstance(name, str) or name not in tools.NAMES:
            raise BadMessage(INVALID_PARAMS, f"the tools are {', '.join(sorted(tools.NAMES))}", ident)
        if not isinstance(arguments, dict):
            raise BadMessage(INVALID_PARAMS, "arguments are an object", ident)
        if ident in session.calls:
            raise BadMessage(jsonrpc.INVALID_REQUEST, "a request with this id is under way", ident)
        try:
            tools.check(name, arguments)
            if name == tools.POLICY:
                return _at_once(ident, self._policy())
            if name == tools.STATUS:
                return _at_once(ident, self._status(arguments.get("id")))
            return self._ask(session, call, ident, name, arguments)
        except (tools.NoSuchThing, Busy) as refused:
            return _at_once(ident, None, str(refused))

    def _status(self, request: object) -> dict[str, object]:
        for one in self._desk.known():
            if one["id"] == request:
                return outcome(one["id"], one["state"], one["text"])
        raise tools.NoSuchThing("this bottle has made no such request; my_policy lists those it has made")

    def _ask(self, session: Session, call: Call, ident: Id, name: str, arguments: dict[str, object]) -> Pending:
        reason, seconds = tools.reason(arguments["reason"]), tools.seconds(arguments.get("wait_seconds"))
        change = tools.checked(tools.asked(name, arguments), self._state)
        wait, tell = self._desk.ask(change.to_dict(), reason, "mcp")
        session.calls[ident] = wait

        def over() -> None:
            session.calls.pop(ident, None)
            self._desk.leave(wait)

        meta = call.params.get("_meta")
        token = meta.get("progressToken") if isinstance(meta, dict) else None
        sound = type(token) is int or (isinstance(token, str) and len(token) <= jsonrpc.MAX_ID)
        return Pending(wait, _Voice(ident, token if sound else None), seconds, True, (tell,), over)

    def _stream(self, asked: Asked) -> Reply | Pending:
        """What a client may hold open to hear of things it did not ask for. There are none: it is only kept alive."""
        session = self._session(asked)
        if isinstance(session, Reply):
            return session
        if not asked.accepts("text/event-stream"):
            return Reply(406, {"error": "accept text/event-stream"})
        if self._streams >= limits.STREAMS:
            return Reply(405, {"error": "too many streams are open"})  # "offers no stream", which clients can do without
        wait = Wait()
        session.streams.append(wait)
        self._streams += 1

        def over() -> None:
            session.streams.remove(wait)
            self._streams -= 1

        return Pending(wait, _Silence(), None, True, (), over)


class _Voice:
    """To one call. `token`: its client wants to hear of progress."""

    def __init__(self, ident: Id, token: object) -> None:
        self._id, self._token = ident, token
        self._said = 0

    def news(self, wait: Wait) -> bytes:
        return self._progress(f"request {wait.id}: the operator has been asked") if wait.id and not wait.done else b""

    def beat(self, waited: float) -> bytes:
        return COMMENT + self._progress(f"the operator has not decided yet ({waited / 60:.0f} min)")

    def last(self, wait: Wait) -> Reply:
        text = wait.text or ("" if wait.done else "the operator has not decided yet")
        if not wait.done:
            text += f" Ask for request_status with id {wait.id} later; do not ask for the same again."
        return _at_once(self._id, outcome(wait.id, wait.state, text.strip()))

    def _progress(self, text: str) -> bytes:
        if self._token is None:
            return b""
        self._said += 1
        said = {"progressToken": self._token, "progress": self._said, "message": text}
        return event(jsonrpc.notification("notifications/progress", said), b"message")


class _Silence:
    """A stream on which there is nothing to say."""

    def news(self, wait: Wait) -> bytes:
        return b""

    def beat(self, waited: float) -> bytes:
        return b": \n\n"

    def last(self, wait: Wait) -> Reply:
        return Reply(200)


def outcome(request: str, state: str, text: str) -> dict[str, object]:
    """What a request tool returns, as data (`tools._OUTCOME`)."""
    from claude_bottle.model.requests import OPEN

    return {"id": request, "state": state, "decided": state not in OPEN, "text": text}


def _at_once(ident: Id, value: dict[str, object] | None, problem: str = "") -> Reply:
    """A tool's result. For the model it is text; for clients that look at it, data."""
    if value is None:
        said: dict[str, object] = {"content": [{"type": "text", "text": problem}], "isError": True}
    else:
        text = value.get("text") if "state" in value else json.dumps(value, indent=1)
        head = f"{value['state']} ({value['id'] or 'no request'}): " if "state" in value else ""
        said = {"content": [{"type": "text", "text": f"{head}{text}"}], "structuredContent": value, "isError": False}
    return Reply(200, jsonrpc.result(ident, said))


def _cancel(session: Session, ident: object) -> None:
    wait = session.calls.get(ident) if isinstance(ident, (str, int)) else None
    if wait is not None:
        wait.cancel()
