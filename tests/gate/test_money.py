"""What a bottle spends at a model's API is what the answers say, and a bound stops the next request."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claude_bottle.gate import core
from claude_bottle.gate.money import Meter, Money
from claude_bottle.model import policy as reasons
from claude_bottle.model.policy import Rule
from claude_bottle.model.prices import MICROS, PRICES, Price, Tokens, cost, dollars, price_of
from claude_bottle.testing.playbook import Playbook
from tests.gate.conftest import HOST, MakeState
from tests.gate.test_http import body

PLAIN = Rule(HOST, port=80)
ASK = b'{"model": "claude-sonnet-4-5", "max_tokens": 9}'
USAGE = {"input_tokens": 1000, "output_tokens": 1, "cache_read_input_tokens": 0}
START = {"type": "message_start", "message": {"model": "claude-sonnet-4-5", "usage": USAGE}}
DELTA = {"type": "message_delta", "delta": {}, "usage": {"output_tokens": 100}}
PRICE = 1000 * 3 + 100 * 15


def event(said: dict[str, Any]) -> bytes:
    return f"event: {said['type']}\ndata: {json.dumps(said)}\n\n".encode()


EVENTS = event(START) + event({"type": "content_block_delta", "delta": {"text": '"usage": 1'}}) + event(DELTA)
WHOLE = json.dumps({"model": "claude-sonnet-4-5", "usage": USAGE | {"output_tokens": 100}}).encode()


def post(path: str = "/v1/messages?beta=true", data: bytes = ASK) -> bytes:
    head = f"POST {path} HTTP/1.1\r\nHost: {HOST}\r\nAccept-Encoding: gzip\r\nContent-Length: {len(data)}\r\n\r\n"
    return head.encode() + data


def answer(data: bytes, kind: str = "application/json", more: str = "") -> bytes:
    head = f"HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\n{more}content-length: {len(data)}\r\n\r\n"
    return head.encode() + data


def conversation(make_state: MakeState, limit: int | None) -> Playbook:
    state = make_state(PLAIN)
    state.money.limit = limit
    return Playbook(state, "http", state.book.address(HOST) or "", 80)


@pytest.mark.parametrize("said", [answer(WHOLE), answer(EVENTS, "text/event-stream; charset=utf-8")])
def test_what_an_answer_used_is_counted_and_written_down(make_state: MakeState, said: bytes) -> None:
    play = conversation(make_state, None)
    play.client(post())
    went = play.dialled(1)
    assert b"accept-encoding: identity" in went and b"gzip" not in went
    assert play.upstream(1, said).endswith(said[-20:])
    assert play.logic.state.money.spent == PRICE
    (told,) = (record for record in play.records if record["kind"] == "traffic")
    assert (told["usd_micros"], told["model"]) == (PRICE, "claude-sonnet-4-5")
    assert (told["tokens_read"], told["tokens_written"]) == (1000, 100)


def test_what_is_spent_up_refuses_the_next_request_to_the_model_and_nothing_else(make_state: MakeState) -> None:
    play = conversation(make_state, PRICE)
    play.client(post())
    play.dialled(1)
    play.upstream(1, answer(WHOLE))
    said = body(play.client(post()))
    assert (said["reason"], said["blocked"]) == (reasons.MONEY_SPENT, True)
    assert "request_budget" in str(said["ask"]) and '{"kind": "money", "usd": 1' in str(said["ask"])
    other = Playbook(play.logic.state, "http", play.logic.state.book.address(HOST) or "", 80)
    other.client(post("/v1/messages/count_tokens"))
    assert other.decisions[-1]["allow"]


@pytest.mark.parametrize("path", ["/v1/messages/batches", "/v1/complete", "/v1/messages/", "/V1/messages"])
def test_what_would_cost_without_saying_so_is_refused_where_there_is_a_bound(make_state: MakeState, path: str) -> None:
    assert body(conversation(make_state, 10 * MICROS).client(post(path)))["reason"] == reasons.MONEY_SPENT
    play = conversation(make_state, None)
    play.client(post(path))
    assert play.decisions[-1]["allow"]


@pytest.mark.parametrize("said", [
    answer(b"{}"), answer(b"not json"), answer(b"[" * 5000), answer(WHOLE, more="content-encoding: gzip\r\n"),
    answer(json.dumps({"usage": 7}).encode()), answer(WHOLE, "text/plain", "content-encoding: br\r\n"),
])  # fmt: skip
def test_an_answer_that_does_not_say_what_it_cost_is_all_that_was_left(make_state: MakeState, said: bytes) -> None:
    play = conversation(make_state, 10 * MICROS)
    play.client(post())
    play.dialled(1)
    play.upstream(1, said)
    assert play.logic.state.money.spent == 10 * MICROS
    assert body(play.client(post()))["reason"] == reasons.MONEY_SPENT


@pytest.mark.parametrize("status", ["400 Bad Request", "429 Too Many Requests", "529 Overloaded"])
def test_an_error_costs_nothing(make_state: MakeState, status: str) -> None:
    play = conversation(make_state, MICROS)
    play.client(post())
    play.dialled(1)
    play.upstream(1, f"HTTP/1.1 {status}\r\ncontent-length: 2\r\n\r\n{{}}".encode())
    assert play.logic.state.money.spent == 0


@pytest.mark.parametrize("came", [b"", b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n",
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n" + event(START) + b"data: {}\n\n" * 500])
def test_an_answer_that_is_broken_off_is_not_for_nothing(make_state: MakeState, came: bytes) -> None:
    play = conversation(make_state, None)
    play.client(post(data=ASK + b" " * 3000))
    play.dialled(1)
    if came:
        play.upstream(1, came)
    play.event(core.Lost(core.CLIENT))
    least = cost("claude-sonnet-4-5" if b"message_start" in came else "", Tokens(read=1000, written=1))
    assert play.logic.state.money.spent >= least


def test_a_server_that_cannot_be_reached_costs_nothing(make_state: MakeState) -> None:
    play = conversation(make_state, MICROS)
    play.client(post())
    play.dialled(1)
    play.event(core.Ended(1))
    assert play.logic.state.money.spent == 0


@given(st.lists(st.integers(1, 60), max_size=40))
def test_however_events_are_cut_the_cost_is_the_same(sizes: list[int]) -> None:
    meter, money, at = Meter(made := Money()), made, 0
    meter._status, meter._events = 200, True
    for size in [*sizes, math.inf]:
        end = min(at + size, len(EVENTS))
        meter.read(EVENTS[at : int(end)])
        at = int(end)
    meter.ended(100, failed=False)
    assert money.spent == PRICE


@given(st.binary(max_size=300), st.booleans())
def test_no_answer_is_too_strange(data: bytes, events: bool) -> None:
    meter = Meter(Money(limit=MICROS))
    meter._status, meter._events = 200, events
    meter.read(data)
    meter.read(b"data: " + data + b'"usage"\n')
    assert meter.ended(10, failed=False)["usd_micros"]


def test_caches_long_contexts_and_searches_cost_what_they_cost() -> None:
    million = 1_000_000
    assert cost("claude-haiku-4-5-20251001", Tokens(read=100_000)) == 100_000
    assert cost("claude-haiku-4-5", Tokens(cached_short=1000, cached_long=1000, from_cache=1000)) == 1250 + 2000 + 100
    assert cost("claude-sonnet-4-5", Tokens(read=million)) == 2 * 3 * million
    assert cost("claude-sonnet-4-5", Tokens(searches=3)) == 30_000


UNKNOWN = ("", "gpt-9", "claude-next", "claude-sonnet-5", "claude-sonnet-4-5-turbo", "claude-opus-4-9", "x" * 5000, "\x1b[2J")
EACH = [Tokens(**{part: 100}) for part in ("read", "written", "from_cache", "cached_short", "cached_long")]


@pytest.mark.parametrize("used", EACH, ids=lambda used: next(name for name, count in used._asdict().items() if count))
@pytest.mark.parametrize("own", [{}, {"a": Price(1, 999)}, {"b": Price(70, 0, 30, 0), "claude-opus-4-1": Price(0, 0)}])
def test_an_unknown_model_costs_as_much_as_the_dearest_in_each_part(used: Tokens, own: dict[str, Price]) -> None:
    every = [cost("m", used, {"m": price}) for price in (*PRICES.values(), *own.values())]
    assert {cost(name, used, own) for name in UNKNOWN} == {max(every)}


def test_the_operators_price_goes_before_the_list(make_state: MakeState) -> None:
    play = conversation(make_state, None)
    play.logic.state.money.prices = {"claude-sonnet-4-5": Price(30, 150)}
    play.client(post())
    play.dialled(1)
    play.upstream(1, answer(WHOLE))
    assert play.logic.state.money.spent == 10 * PRICE


def test_a_name_is_one_model_and_its_versions_unless_it_says_more() -> None:
    own = {"gpt-5": Price(1, 1), "gpt-5-pro*": Price(15, 120), "gpt-5-pro-mini": Price(2, 2), "claude-*": Price(7, 7),
           "o9": Price(3, 3), "o9*": Price(4, 4)}  # fmt: skip
    assert price_of("gpt-5", own) == price_of("gpt-5-20260101", own) == price_of("gpt-5@20260101", own) == Price(1, 1)
    assert price_of("gpt-5-pro-x", own) == Price(15, 120)
    assert price_of("gpt-5-pro-mini", own) == Price(2, 2)
    assert (price_of("o9", own), price_of("o9-fast", own)) == (Price(3, 3), Price(4, 4))
    assert price_of("claude-sonnet-4-5-20250929", own) == Price(7, 7)
    assert price_of("gpt-5-max", own).written == 120
    assert price_of("claude-sonnet-4-5-20250929") == price_of("claude-3-7-sonnet-latest") == Price(3, 15)


def test_what_the_operator_says_of_caches_holds() -> None:
    own = {"m": Price(10, 10, 2, 20)}
    assert cost("m", Tokens(from_cache=1000, cached_short=1000), own) == 2000 + 20_000
    assert cost("m", Tokens(cached_long=1000), own) == 32_000


@pytest.mark.parametrize(("micros", "said"), [(0, "$0.00"), (1, "<$0.01"), (5000, "$0.01"), (1_840_000, "$1.84")])
def test_dollars_are_never_nothing_for_something(micros: int, said: str) -> None:
    assert dollars(micros) == said
