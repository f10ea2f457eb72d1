"""The official MCP client against a running gate: what it lists, calls, waits for and cancels."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from typing import Any

import mcp
import pytest

from claude_bottle.gate import limits
from claude_bottle.model.policy import Rule
from tests.gate.conftest import HOST, Rig, RunningGate
from tests.gate.keeper import Keeper
from tests.waiting import SECONDS

REASON = "the build needs it"
RULES = [{"host": "crates.io", "methods": ["GET"]}]


@pytest.fixture
def gate(rig: Rig) -> RunningGate:
    return rig.gate(Rule(HOST, port=80), names=("http", "proxy"))


def talk(gate: RunningGate, story: Callable[[Any], Awaitable[None]], **options: Any) -> None:
    """Run `story(client)` with a client that dials the gate's listener by its own name."""

    async def whole() -> None:
        import httpx2
        from mcp.client.streamable_http import streamable_http_client

        # The name resolves only in a bottle: the address is dialled here, the name is said in Host.
        url = f"http://127.0.0.1:{gate.ports['http']}/mcp"
        async with (
            httpx2.AsyncClient(headers={"Host": "bottle.internal"}, timeout=httpx2.Timeout(30, read=SECONDS)) as http,
            mcp.Client(streamable_http_client(url, http_client=http), **options) as client,
        ):
            await story(client)

    asyncio.run(asyncio.wait_for(whole(), SECONDS))


def test_the_official_client_lists_the_tools_and_reads_the_policy(gate: RunningGate) -> None:
    async def story(client: Any) -> None:
        listed = await client.list_tools()
        assert {tool.name for tool in listed.tools} >= {"request_egress", "request_capability", "my_policy"}
        assert "operator" in client.instructions
        policy = await client.call_tool("my_policy", {})
        assert policy.structured_content["granted"][0]["host"] == HOST

    talk(gate, story)


@pytest.mark.parametrize(("state", "text"), [("applied", "granted for this session"), ("rejected", "use the mirror")])
def test_the_official_client_waits_for_the_operator(gate: RunningGate, state: str, text: str) -> None:
    keeper = Keeper(gate)
    operator = threading.Thread(target=keeper.answer, args=(state, text))
    operator.start()

    async def story(client: Any) -> None:
        done = await client.call_tool("request_egress", {"rules": RULES, "reason": REASON})
        assert done.structured_content["state"] == state
        assert text in done.content[0].text
        assert not done.is_error

    talk(gate, story)
    operator.join()


def test_the_official_client_hears_of_progress(gate: RunningGate, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "BEAT", 0.05)
    keeper, heard = Keeper(gate), threading.Event()
    messages: list[str] = []

    def operator() -> None:
        asked = keeper.expect("ask")
        keeper.tell("request", ticket=asked["ticket"], id="q-1", state="submitted", text="")
        heard.wait(SECONDS)
        keeper.tell("request", id="q-1", state="applied", text="granted")

    async def progress(done: float, total: float | None, message: str | None) -> None:
        messages.append(message or "")
        if any("q-1" in one for one in messages[:-3]):
            heard.set()

    async def story(client: Any) -> None:
        await client.call_tool("request_egress", {"rules": RULES, "reason": REASON}, progress_callback=progress)

    thread = threading.Thread(target=operator)
    thread.start()
    talk(gate, story)
    thread.join()
    (asked,) = [one for one in messages if "q-1" in one]  # what is heard before the keeper has taken it is the same
    assert all("has not decided yet" in one for one in messages if one != asked)


def test_a_call_the_official_client_gives_up_waits_no_more(gate: RunningGate) -> None:
    keeper = Keeper(gate)

    async def story(client: Any) -> None:
        call = asyncio.ensure_future(client.call_tool("request_egress", {"rules": RULES, "reason": REASON}))
        await asyncio.to_thread(keeper.expect, "ask")
        assert gate.state.pages.desk.waiting == 1
        call.cancel()
        while gate.state.pages.desk.waiting:
            await asyncio.sleep(0.01)
        await client.call_tool("my_policy", {})  # the session goes on

    talk(gate, story)


def test_many_wait_at_once_on_connections_of_their_own(gate: RunningGate) -> None:
    keeper = Keeper(gate)

    def operator() -> None:
        tickets = [keeper.expect("ask")["ticket"] for _ in range(8)]
        for number, ticket in reversed(list(enumerate(tickets))):
            keeper.tell("request", ticket=ticket, id=f"q-{number}", state="rejected", text=f"no {number}")

    async def story(client: Any) -> None:
        calls = [client.call_tool("request_budget", {"egress_bytes": number + 1, "reason": REASON}) for number in range(8)]
        done = await asyncio.gather(*calls)
        assert sorted(one.structured_content["text"] for one in done) == [f"no {number}" for number in range(8)]

    thread = threading.Thread(target=operator)
    thread.start()
    talk(gate, story)
    thread.join()


def test_an_error_in_the_arguments_is_told_to_the_model(gate: RunningGate) -> None:
    async def story(client: Any) -> None:
        done = await client.call_tool("request_egress", {"rules": [{"host": "*"}], "reason": REASON})
        assert done.is_error
        assert "wildcard" in done.content[0].text

    talk(gate, story)
