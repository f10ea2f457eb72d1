"""What the shape of a manifest accepts is what its published schema says, and nothing is bent to fit."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from msgspec import UNSET, ValidationError, convert
from msgspec.json import schema as json_schema

from claude_bottle.manifest.shape import ManifestDoc

KEYS = ("version", "$schema", "bottles", "agents", "b", "egress", "credentials", "env", "mounts", "proxy_env", "workspace",
        "mode", "preset", "host", "port", "methods", "tls", "from", "command", "one_of", "source", "target")  # fmt: skip
PLAIN = st.none() | st.booleans() | st.integers(-1, 70000) | st.sampled_from((0.5, float("inf"))) | st.sampled_from(
    ("", "inspect", "tunnel", "ro", "bind", "none", "auto", "x" * 4097))  # fmt: skip
ANYTHING = st.recursive(
    PLAIN, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner), max_leaves=12
)


def bottle(**keys: Any) -> dict[str, Any]:
    return {"version": 1, "bottles": {"b": keys}}


def rule(**keys: Any) -> dict[str, Any]:
    return bottle(egress=[keys])


@given(ANYTHING, st.sampled_from(("whole", "bottle", "rule", "credential", "agent")))
def test_it_accepts_exactly_what_the_schema_accepts(data: Any, place: str) -> None:
    whole = {
        "whole": data,
        "bottle": {"version": 1, "bottles": {"b": data}},
        "rule": bottle(egress=[data]),
        "credential": bottle(credentials={"c": data}),
        "agent": {"version": 1, "agents": {"a": data}},
    }[place]
    try:
        convert(whole, ManifestDoc)
        accepted = True
    except ValidationError:
        accepted = False
    assert accepted == Draft202012Validator(json_schema(ManifestDoc)).is_valid(whole)


@pytest.mark.parametrize(
    "data",
    [
        [], None, "", {}, {"version": True}, {"version": 1.0}, {"version": "1"}, {"version": 2}, {"version": 1, "x": 0},
        {"version": 1, "bottles": []}, {"version": 1, "bottles": None}, bottle(proxy_env=0), bottle(env={"A": 1}),
        bottle(env={"A": "x" * 32769}), rule(port=True), rule(port=0), rule(port=65536), rule(port=443.0), rule(host=None),
        rule(host="x" * 4097), rule(methods="GET"), rule(methods=[1]), rule(tls="off"), rule(Host="x"),
        bottle(workspace={}), bottle(credentials={"c": {"one_of": [{"nested": 1}]}}),
    ],
    ids=repr,
)  # fmt: skip
def test_nothing_is_coerced_ignored_or_filled_in(data: Any) -> None:
    with pytest.raises(ValidationError):
        convert(data, ManifestDoc)


def test_what_is_not_said_is_unset_or_the_default() -> None:
    made = convert(rule(host="example.com"), ManifestDoc).bottles["b"]
    assert (made.backend, made.env, made.workspace, made.proxy_env) == ("auto", {}, UNSET, False)
    assert (made.egress[0].host, made.egress[0].port) == ("example.com", UNSET)


def test_defaults_are_not_shared() -> None:
    one, other = (convert(bottle(), ManifestDoc).bottles["b"] for _ in range(2))
    assert one.env is not other.env
