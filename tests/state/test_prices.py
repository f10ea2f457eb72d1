"""The setting `prices`: in the words of price lists, every problem told with its place."""

from __future__ import annotations

import json

import pytest

from claude_bottle.errors import BottleError
from claude_bottle.model.prices import Price, Prices
from claude_bottle.state.config import Settings
from claude_bottle.state.paths import Paths


def load(paths: Paths, said: object) -> Prices:
    paths.ensure_root()
    paths.config.write_text(said if isinstance(said, str) else json.dumps({"prices": said}))
    paths.config.chmod(0o600)
    return Settings.load(paths).prices


def test_a_price_has_two_parts_and_perhaps_two_of_caches(paths: Paths) -> None:
    found = load(paths, {
        "claude-sonnet-4-5": {"input": 3, "output": 15.5},
        "Qwen/qwen3:32b*": {"input": 0, "output": 0, "cache_read": 0.3, "cache_write": 4},
    })  # fmt: skip
    assert found == {"claude-sonnet-4-5": Price(3, 15.5), "Qwen/qwen3:32b*": Price(0, 0, 0.3, 4)}


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ([], "prices: expected an object"), ({"m": 3}, "prices.m: expected an object"),
        ({"m": {"input": 3}}, "prices.m.output: expected US dollars for a million tokens"),
        ({"m": {"input": 3, "output": 15, "cached": 1}}, "prices.m.cached: unknown key; known are input, output"),
        ({"m": {"input": -1, "output": 15}}, "prices.m.input: expected"),
        ({"m": {"input": 3, "output": 1e9}}, "prices.m.output: expected"),
        ({"m": {"input": True, "output": 15}}, "prices.m.input: expected"),
        ({"m": {"input": "3", "output": 15}}, "prices.m.input: expected"),
        ({"m": {"input": 3, "output": 15, "cache_read": None}}, "prices.m.cache_read: expected"),
        ('{"prices": {"m": {"input": NaN, "output": 15}}}', "prices.m.input: expected"),
        ('{"prices": {"m": {"input": 3, "output": Infinity}}}', "prices.m.output: expected"),
        ({"*": {"input": 3, "output": 15}}, "prices.*: not the name"), ({"": {"input": 3, "output": 15}}, "not the name"),
        ({"a*b": {"input": 3, "output": 15}}, "prices.a*b: not the name"), ({"a b": {}}, "prices.a b: not the name"),
    ],
    ids=lambda said: str(said)[:40],
)  # fmt: skip
def test_what_is_wrong_is_told(paths: Paths, said: object, words: str) -> None:
    with pytest.raises(BottleError) as told:
        load(paths, said)
    assert words in told.value.why


def test_each_problem_stands_in_its_line(paths: Paths) -> None:
    said = """{"prices": {
      "claude-sonnet-4.5": {
        "input": "3",
        "output": 15},
      "m": {"input": 1}}}"""
    with pytest.raises(BottleError) as told:
        load(paths, said)
    expected = "US dollars for a million tokens, a number from 0 to 100000"
    assert told.value.why.splitlines() == [
        f"config.json:3:9: prices.claude-sonnet-4.5.input: expected {expected}, found str",
        f"config.json:5:7: prices.m.output: expected {expected}, found nothing",
    ]
