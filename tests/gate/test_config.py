"""The one form of a gate's configuration that leaves a process: whole, one line, and refused when it is not that."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claude_bottle.gate.config import GateConfig, Upstream
from claude_bottle.model.credentials import BoundCredential, CredentialSpec, Secret
from claude_bottle.model.policy import Rule
from claude_bottle.model.prices import Price

SECRET = "s3cr3t-value"
SPEC = CredentialSpec("api", "command", ("get", "key"), "API_KEY", "authorization", "Bearer {secret}", 60)
BOUND = BoundCredential(SPEC, "bottle-placeholder-0123456789", Secret(SECRET), (("api.example.com", 443),))
CONFIG = GateConfig(
    "x-abc123", (Rule("api.example.com", paths=("/v1/*",), credential="api"), Rule("t.example.com", tls="tunnel")), (BOUND,),
    {("api.example.com", 443): Upstream("10.0.0.5", 8443, "-----BEGIN\n…"), ("b.example.com", 80): Upstream("::1", 80)},
    "-----BEGIN CERTIFICATE-----\nx\n", "00ff", explicit_proxy=False,
    prices={"claude-next": Price(3, 15.5), "own-*": Price(0, 0, 0.1)},
)  # fmt: skip


def test_what_arrives_is_what_was_sent() -> None:
    line = CONFIG.to_wire()
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    assert GateConfig.from_wire(line) == CONFIG
    assert GateConfig.from_wire(line).credentials[0].secret.reveal() == SECRET


def test_only_the_wire_holds_the_secret() -> None:
    assert SECRET in CONFIG.to_wire().decode()
    assert SECRET not in repr(CONFIG)


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(max_size=5), lambda inner: st.lists(inner, max_size=3)
                    | st.dictionaries(st.sampled_from([*json.loads(CONFIG.to_wire())]), inner, max_size=7)))  # fmt: skip
def test_anything_else_is_refused_without_quoting_it(value: object) -> None:
    with pytest.raises(ValueError, match=r"^not a gate's configuration$"):
        GateConfig.from_wire(json.dumps(value).encode())


@pytest.mark.parametrize("key", [*json.loads(CONFIG.to_wire())])
def test_nothing_of_it_may_be_missing(key: str) -> None:
    said = json.loads(CONFIG.to_wire())
    del said[key]
    with pytest.raises(ValueError, match=r"^not a gate's configuration$"):
        GateConfig.from_wire(json.dumps(said).encode())


def test_a_line_that_is_cut_short_is_refused() -> None:
    line = CONFIG.to_wire()
    with pytest.raises(ValueError):
        GateConfig.from_wire(line[: len(line) // 2])
