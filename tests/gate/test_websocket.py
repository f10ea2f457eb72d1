"""WebSockets: only where a rule says so, with a handshake that both sides mean; then whatever they say, until it ends."""

from __future__ import annotations

import contextlib
import os
import ssl
import threading
from collections.abc import Iterator

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect
from websockets.sync.server import ServerConnection, serve

from claude_bottle.gate import core
from claude_bottle.gate.budget import Budget
from claude_bottle.gate.core import CLIENT
from claude_bottle.model import policy as reasons
from claude_bottle.model.policy import Rule
from claude_bottle.testing.playbook import Playbook
from tests.gate.conftest import HOST, PLACEHOLDER, SECRET, MakeState, Rig, RunningGate, bound
from tests.gate.test_http import refused
from tests.waiting import SECONDS

OPEN = Rule(HOST, websocket=True, methods=("GET",), paths=("/ws",))
PLAIN = Rule(HOST, port=80, websocket=True)
KEY, PROOF = b"dGhlIHNhbXBsZSBub25jZQ==", b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="  # of RFC 6455 §1.3
ASKED = (
    b"GET /ws HTTP/1.1\r\nHost: api.example.com\r\nConnection: keep-alive, Upgrade\r\nUpgrade: WebSocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: " + KEY + b"\r\n\r\n"
)
AGREED = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: "
    + PROOF + b"\r\n\r\n"
)  # fmt: skip


@pytest.fixture
def direct(make_state: MakeState) -> Playbook:
    return Playbook(make_state(PLAIN), "http", "198.18.0.2", 80)


class Echo:
    """A real WebSocket server that gives every message back."""

    def __init__(self, rig: Rig) -> None:
        self.heads: list[str | None] = []
        self._server = serve(self._talk, "127.0.0.1", 0, ssl=rig.upstream_context)
        self.port = self._server.socket.getsockname()[1]
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def _talk(self, connection: ServerConnection) -> None:
        request = connection.request
        self.heads.append(request.headers.get("x-api-key") if request else None)
        for message in connection:
            connection.send(message)

    def close(self) -> None:
        self._server.shutdown()


@pytest.fixture
def echo(rig: Rig) -> Iterator[Echo]:
    echo = Echo(rig)
    yield echo
    echo.close()


def opened(gate: RunningGate, rig: Rig, path: str = "/ws", **headers: str) -> ClientConnection:
    sock = gate.tunnel(ssl.create_default_context(cadata=rig.make_state.authority.pem))
    # TLS is there already: to the library it is a plain socket.
    return connect(f"ws://{HOST}:443{path}", sock=sock, additional_headers=headers, open_timeout=SECONDS, proxy=None)


def gate_to(echo: Echo, rig: Rig, rule: Rule, **more: object) -> RunningGate:
    class Place:
        port = echo.port

    return rig.gate(rule, to={(HOST, 443): Place()}, **more)  # type: ignore[dict-item, arg-type]


def test_messages_of_any_size_go_both_ways(echo: Echo, rig: Rig) -> None:
    with opened(gate_to(echo, rig, OPEN), rig) as connection:
        for message in ("hello", b"\0\xff" * 1000, "x" * 900_000):
            connection.send(message)
            assert connection.recv(SECONDS) == message


def test_the_credential_goes_up_with_the_handshake(echo: Echo, rig: Rig) -> None:
    rule = Rule(HOST, websocket=True, paths=("/ws",), credential="api")
    gate = gate_to(echo, rig, rule, credentials=(bound((HOST, 443)),))
    with opened(gate, rig, **{"x-api-key": PLACEHOLDER}) as connection:
        connection.send("one")
        assert connection.recv(SECONDS) == "one"
    assert echo.heads == [SECRET]


def test_what_is_sent_counts_against_the_budget(echo: Echo, rig: Rig) -> None:  # threats 49
    gate = gate_to(echo, rig, OPEN, budget=Budget(20_000))
    said = 0
    with opened(gate, rig) as connection, contextlib.suppress(ConnectionClosed):
        while said < 100:
            connection.send(os.urandom(1000))
            connection.recv(SECONDS)
            said += 1
    assert 0 < said < 20
    assert gate.state.budget.spent <= 20_000


def test_it_ends_with_its_grant(direct: Playbook) -> None:  # threats 49
    direct.client(ASKED)
    direct.dialled(1)
    direct.upstream(1, AGREED)
    direct.logic.state.replace_policy([Rule(HOST, port=80)], revision=2)  # the same, but for the WebSocket
    direct.event(core.Judged())
    assert direct.closed and core.Abort(1) in direct.commands
    assert direct.decisions[-1]["reason"] == reasons.UPGRADE_REFUSED


def test_the_handshake_goes_up_written_anew_and_early_bytes_follow_it(direct: Playbook) -> None:
    direct.client(ASKED + b"early")
    up = direct.dialled(1)
    assert up == (
        b"GET /ws HTTP/1.1\r\nhost: api.example.com\r\nsec-websocket-version: 13\r\nsec-websocket-key: " + KEY
        + b"\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\r\n"
    )  # fmt: skip
    down = direct.upstream(1, AGREED + b"first")
    assert down.startswith(b"HTTP/1.1 101 Switching Protocols\r\n") and down.endswith(b"\r\n\r\nfirst")
    assert direct.arrived(1) == b"early"
    direct.event(core.Ended(CLIENT))
    assert direct.closed and core.Abort(1) in direct.commands


def test_a_server_that_declines_is_passed_on(direct: Playbook) -> None:
    direct.client(ASKED)
    direct.dialled(1)
    answer = direct.upstream(1, b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nno")
    assert answer.endswith(b"\r\n\r\nno")
    assert not direct.closed


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (PROOF, b"AAAA"),
        (b"Upgrade: websocket", b"Upgrade: h2c"),
        (b"Sec-WebSocket-Accept", b"X"),
        (b"Connection: Upgrade", b"X: y"),
    ],
)
def test_a_switch_to_anything_else_is_refused(direct: Playbook, old: bytes, new: bytes) -> None:  # threats 49
    direct.client(ASKED)
    direct.dialled(1)
    answer = direct.upstream(1, AGREED.replace(old, new) + b"raw")
    assert answer.startswith(b"HTTP/1.1 502") and b"raw" not in answer
    assert core.Abort(1) in direct.commands


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"WebSocket\r\n", b"h2c\r\n"),
        (b"WebSocket\r\n", b"websocket, h2c\r\n"),
        (b"Upgrade: WebSocket", b"Upgrade: websocket\r\nUpgrade: h2c"),
        (b"keep-alive, Upgrade", b"keep-alive"),
        (b"Version: 13", b"Version: 8"),
        (b"Sec-WebSocket-Key", b"X-Key"),
        (b"HTTP/1.1", b"HTTP/1.0"),
        (b"GET", b"POST"),
        (b"Host:", b"Content-Length: 2\r\nHost:"),
        (b"Host:", b"Transfer-Encoding: chunked\r\nHost:"),
        (b"Host:", b"HTTP2-Settings: x\r\nHost:"),
    ],
)  # fmt: skip
def test_a_handshake_in_any_other_form_is_refused(direct: Playbook, old: bytes, new: bytes) -> None:  # threats 49, 50
    answer = direct.client(ASKED.replace(old, new, 1))
    assert refused(direct, answer) == reasons.UPGRADE_REFUSED


def test_a_rule_that_does_not_say_so_grants_none(make_state: MakeState) -> None:  # threats 49
    for rules in ((Rule(HOST, port=80),), (Rule(HOST, port=80), Rule(HOST, port=80, paths=("/other",), websocket=True))):
        play = Playbook(make_state(*rules), "http", "198.18.0.2", 80)
        assert refused(play, play.client(ASKED)) == reasons.UPGRADE_REFUSED


def test_the_gate_itself_is_none(make_state: MakeState) -> None:
    play = Playbook(make_state(PLAIN), "http", "127.0.0.1", 80)
    answer = play.client(ASKED.replace(HOST.encode(), b"bottle.internal"))
    assert answer.startswith(b"HTTP/1.1 403")
