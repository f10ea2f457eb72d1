"""A small Messages API server that plays a script, so that the real Claude Code can be driven without an
account.

It listens on loopback, over TLS with its own throw-away CA or in the clear, answers 401 to any credential but
the expected one, and records every request it gets: tests assert on what really arrived. Standard library
only but for the certificate; one thread a connection; nothing is ever fetched or executed.
"""

from __future__ import annotations

import json
import socket
import ssl
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self

from claude_bottle.testing import model_events, model_side
from claude_bottle.testing.model_script import Conversation, Failure, Player, Script, Turn

DEFAULT_NAMES = ("model.bottle.test", "api.anthropic.com", "localhost", "127.0.0.1")
_BODY_LIMIT = 64 << 20


@dataclass(frozen=True)
class Recorded:
    """One request as it arrived. `kind` is what the server took it for: `turn`, `side:<what>`,
    `count_tokens`, `probe`, `refused` (wrong credential) or `unknown`. Header names are lower-case, in order,
    as sent."""

    number: int
    method: str
    path: str
    headers: tuple[tuple[str, str], ...]
    body: Any
    kind: str
    conversation: str

    def header(self, name: str) -> str:
        return next((value for key, value in self.headers if key == name), "")

    @property
    def credential(self) -> str:
        """What credential arrived: the `x-api-key`, else the `Authorization` value, else ""."""
        return self.header("x-api-key") or self.header("authorization")

    def to_dict(self) -> dict[str, Any]:
        headers = [list(pair) for pair in self.headers]
        return {**self.__dict__, "headers": headers, "credential": self.credential}


@dataclass
class ScriptedModel:
    """The server, as a context manager. `keys` are the accepted secrets (none: any credential will do).

    `record` is a file that gets one JSON line a request. With `tls`, `directory` receives `ca.pem`.
    """

    script: Script
    keys: Sequence[str] = ()
    port: int = 0
    tls: bool = False
    directory: Path | None = None
    names: Sequence[str] = DEFAULT_NAMES
    record: Path | None = None
    requests: list[Recorded] = field(default_factory=list)
    ca_file: Path | None = None

    def __post_init__(self) -> None:
        self._player = Player(self.script)
        self._changed = threading.Condition()
        self._counter = 0
        self._context = self._make_context() if self.tls else None
        self._server = _Server(("127.0.0.1", self.port), self)
        self.port = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def url(self) -> str:
        return f"{'https' if self.tls else 'http'}://127.0.0.1:{self.port}"

    @property
    def turns(self) -> list[Recorded]:
        """The requests of conversations proper, in order."""
        return [seen for seen in self.requests if seen.kind == "turn"]

    def wait_for(self, condition: Callable[[list[Recorded]], bool], timeout: float = 30) -> None:
        """Block until `condition(requests)` holds. TimeoutError after `timeout` seconds."""
        with self._changed:
            if not self._changed.wait_for(lambda: condition(self.requests), timeout):
                seen = ", ".join(f"{r.method} {r.path} ({r.kind})" for r in self.requests[-8:])
                raise TimeoutError(f"the expected request did not come; the last ones were: {seen or 'none'}")

    def _make_context(self) -> ssl.SSLContext:
        from claude_bottle.testing.throwaway_ca import ThrowawayCA

        if self.directory is None:
            raise ValueError("tls needs a directory for ca.pem")
        authority = ThrowawayCA()
        self.ca_file = self.directory / "ca.pem"
        self.ca_file.write_text(authority.pem)
        return authority.server_context(self.names, self.directory)

    def wrap(self, connection: socket.socket) -> socket.socket:
        """The connection, after its TLS handshake where there is one. Runs in the connection's thread."""
        if self._context is None:
            return connection
        connection.settimeout(60)
        wrapped = self._context.wrap_socket(connection, server_side=True)
        wrapped.settimeout(None)
        return wrapped

    def accepts(self, headers: Message) -> bool:
        """Whether exactly one credential came and it is a known one (any, if no keys were given)."""
        given = [value for name in ("x-api-key", "authorization") if (value := headers.get(name, ""))]
        if not self.keys:
            return bool(given)
        return len(given) == 1 and given[0].removeprefix("Bearer ") in self.keys

    def note(self, handler: _Handler, body: Any, kind: str, conversation: str) -> int:
        """Record a request; its number."""
        with self._changed:
            self._counter += 1
            headers = tuple((name.lower(), value) for name, value in handler.headers.items())
            seen = Recorded(self._counter, handler.command, handler.path, headers, body, kind, conversation)
            self.requests.append(seen)
            if self.record is not None:
                with self.record.open("a") as file:
                    file.write(json.dumps(seen.to_dict()) + "\n")
            self._changed.notify_all()
            return seen.number

    def choose(self, conversation: Conversation) -> Turn:
        with self._changed:
            return self._player.next(conversation)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, address: tuple[str, int], model: ScriptedModel) -> None:
        self.model = model
        super().__init__(address, _Handler)

    def finish_request(self, request: Any, client_address: Any) -> None:
        _Handler(self.model.wrap(request), client_address, self)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes away or distrusts our certificate is its own business; a bug of ours is
        shown."""
        if not isinstance(sys.exception(), (OSError, EOFError)):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server
    # Headers and body of an answer leave separately; Nagle would hold the second back for the client's
    # delayed ACK.
    disable_nagle_algorithm = True

    def log_message(self, format: str, *args: Any) -> None:
        """Requests are recorded, not printed."""

    def do_HEAD(self) -> None:
        self.server.model.note(self, None, "probe", "")
        self._send(200, {})

    def do_GET(self) -> None:
        self.server.model.note(self, None, "probe" if self.path == "/" else "unknown", "")
        self._send(200 if self.path == "/" else 404, model_events.error("not_found_error", "no such page"))

    def do_POST(self) -> None:
        model, body = self.server.model, self._read()
        path = self.path.split("?", 1)[0]
        key = model_side.conversation_key(self.headers)
        if not model.accepts(self.headers):
            model.note(self, body, "refused", key)
            self._send(401, model_events.error("authentication_error", "invalid x-api-key"))
        elif path == "/v1/messages/count_tokens":
            model.note(self, body, "count_tokens", key)
            self._send(200, {"input_tokens": len(json.dumps(body)) // 4})
        elif path == "/v1/messages" and isinstance(body, dict):
            self._answer(body, key)
        else:
            model.note(self, body, "unknown", key)
            self._send(404, model_events.error("not_found_error", "no such endpoint"))

    def _answer(self, body: dict[str, Any], key: str) -> None:
        model = self.server.model
        conversation = Conversation.of(body, key, model.keys)
        side = model_side.answer(body, self.headers)
        number = model.note(self, body, f"side:{side[0]}" if side else "turn", key)
        turn = side[1] if side else model.choose(conversation)
        if turn.delay:
            time.sleep(turn.delay)
        if turn.failure is not None and turn.failure.status:
            self._send(turn.failure.status, model_events.error(turn.failure.kind, turn.failure.message))
            return
        name = str(body.get("model", "scripted"))
        message = model_events.message(turn, conversation, model=name, number=number)
        if body.get("stream"):
            self._stream(message, turn.pace, turn.failure)
        elif turn.failure is not None:
            self.close_connection = True
        else:
            self._send(200, message)

    def _stream(self, message: dict[str, Any], pace: float, failure: Failure | None) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream; charset=utf-8")
        self.send_header("Cache-Control", "no-cache")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        sent = 0
        for event in model_events.events(message):
            carried = model_events.text_length(event)
            if failure is not None and sent + carried > failure.cut_after:
                self.close_connection = True  # in mid-chunk: the client sees a broken transfer, not an end
                return
            if carried and pace:
                time.sleep(pace)
            sent += carried
            self.wfile.write(b"%x\r\n%b\r\n" % (len(event), event))
        self.wfile.write(b"0\r\n\r\n")

    def _send(self, status: int, body: dict[str, Any]) -> None:
        data = b"" if self.command == "HEAD" else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.send_header("request-id", f"req_scripted{id(self) % 10**6:06d}")
        self.end_headers()
        self.wfile.write(data)

    def _read(self) -> Any:
        """The body: its JSON, else a note of its size. Chunked bodies are refused by closing (no client sends
        them)."""
        length = self.headers.get("Content-Length", "0")
        if "Transfer-Encoding" in self.headers or not length.isdigit() or int(length) > _BODY_LIMIT:
            self.close_connection = True
            return {"bytes": -1}
        data = self.rfile.read(int(length))
        try:
            return json.loads(data)
        except ValueError:
            return {"bytes": len(data)}
