"""WebSockets: only where a rule says so, with a handshake that both sides mean; then whatever they say, until it ends."""

from __future__ import annotations

import asyncio
import contextlib
import os
import ssl
import threading
from collections.abc import Coroutine, Iterator
from typing import Any

import pytest
from websockets.asyncio.client import connect
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed

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
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._server = self._do(self._serve(rig.upstream_context))
        self.port: int = next(iter(self._server.sockets)).getsockname()[1]

    async def _serve(self, context: ssl.SSLContext) -> Server:
        return await serve(self._talk, "127.0.0.1", 0, ssl=context)

    async def _talk(self, connection: ServerConnection) -> None:
        request = connection.request
        self.heads.append(request.headers.get("x-api-key") if request else None)
        async for message in connection:
            await connection.send(message)

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._server.close)
        self._do(self._server.wait_closed())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(SECONDS)
        self._loop.close()

    def _do(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(SECONDS)


@pytest.fixture
def echo(rig: Rig) -> Iterator[Echo]:
    echo = Echo(rig)
    yield echo
    echo.close()


def opened(gate: RunningGate, rig: Rig, **headers: str) -> connect:
    """A real client's connection, by the gate's explicit proxy. (Its threaded twin writes and reads one TLS session at the
    same time, which OpenSSL does not allow.)"""
    proxy, trust = f"http://127.0.0.1:{gate.ports['proxy']}", ssl.create_default_context(cadata=rig.make_state.authority.pem)
    return connect(f"wss://{HOST}/ws", ssl=trust, proxy=proxy, additional_headers=headers, open_timeout=SECONDS)


def gate_to(echo: Echo, rig: Rig, rule: Rule, **more: object) -> RunningGate:
    return rig.gate(rule, to={(HOST, 443): echo}, **more)  # type: ignore[dict-item, arg-type]


def test_messages_of_any_size_go_both_ways(echo: Echo, rig: Rig) -> None:
    gate = gate_to(echo, rig, OPEN)

    async def talk() -> None:
        async with opened(gate, rig) as connection:
            for message in ("hello", b"\0\xff" * 1000, "x" * 900_000):
                await connection.send(message)
                assert await connection.recv() == message

    asyncio.run(asyncio.wait_for(talk(), SECONDS))


def test_the_credential_goes_up_with_the_handshake(echo: Echo, rig: Rig) -> None:
    rule = Rule(HOST, websocket=True, paths=("/ws",), credential="api")
    gate = gate_to(echo, rig, rule, credentials=(bound((HOST, 443)),))

    async def talk() -> None:
        async with opened(gate, rig, **{"x-api-key": PLACEHOLDER}) as connection:
            await connection.send("one")
            assert await connection.recv() == "one"

    asyncio.run(asyncio.wait_for(talk(), SECONDS))
    assert echo.heads == [SECRET]


def test_what_is_sent_counts_against_the_budget(echo: Echo, rig: Rig) -> None:  # threats 49
    gate, said = gate_to(echo, rig, OPEN, budget=Budget(20_000)), []

    async def talk() -> None:
        async with opened(gate, rig) as connection:
            with contextlib.suppress(ConnectionClosed):
                while len(said) < 100:
                    await connection.send(os.urandom(1000))
                    said.append(await connection.recv())

    asyncio.run(asyncio.wait_for(talk(), SECONDS))
    assert 0 < len(said) < 20
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
