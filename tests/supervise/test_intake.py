"""What an agent may submit at all."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claude_bottle.errors import Refused
from claude_bottle.supervise.intake import BURST, EVERY_SECONDS, Rate, change_of

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4), max_leaves=12,
)  # fmt: skip


def why(data: object, **named: Any) -> str:
    with pytest.raises(Refused) as refused:
        change_of(data, named.get("named", ()))
    return refused.value.why


def rules(*hosts: str, **rule: Any) -> dict[str, Any]:
    return {"kind": "egress", "rules": [{"host": host, **rule} for host in hosts]}


@given(JSON, st.sampled_from(["egress", "credential", "capability", "budget", "money"]))
def test_no_json_of_a_gate_is_anything_but_a_change_or_refused(data: Any, kind: str) -> None:
    keys = {"egress": "rules", "credential": "rule", "capability": "capability", "budget": "egress_bytes", "money": "usd"}
    for said in (data, {"kind": kind, keys[kind]: data}, {"kind": kind, keys[kind]: [data]}):
        try:
            change_of(said, ())
        except Refused as refused:
            assert refused.why


@pytest.mark.parametrize(
    "host", ["*", "*.example.com", "com", "10.0.0.0/8", "169.254.169.254", "metadata.google.internal", "localhost", "x.local",
             "0x7f.1", "bottle.internal", "a b.com", "a\x1b.com", "a\u202eb.com",
             "ex\u0430mple.com", "a\x00.com", "xn--pple-43d.com"],
)  # fmt: skip
def test_what_no_approval_may_lift_cannot_be_asked_for(host: str) -> None:
    assert why(rules(host))


def test_a_private_name_may_be_asked_for_where_the_operator_named_it() -> None:
    assert change_of(rules("db.corp", port=5432, tls="tunnel"), (("db.corp", 5432),))
    assert "can never be granted" in why(rules("db.corp", port=5432, tls="tunnel"))


def test_a_change_that_is_too_large_to_be_shown_is_refused() -> None:
    assert "larger" in why(rules(*(f"h{n}.example.com" for n in range(8)), paths=[f"/{n}/" + "x" * 100 for n in range(16)]))
    assert why(rules(*(f"h{n}.example.com" for n in range(9))))


@pytest.mark.parametrize(
    "fragment", ["RUN a\tb", "RUN a    b", "RUN a ", "RUN caf\u00e9", "RUN a\n" * 101, "COPY . /", "RUN --mount=x y"]
)
def test_a_fragment_that_could_hide_something_is_refused(fragment: str) -> None:
    assert why({"kind": "capability", "capability": {"dockerfile": fragment}})


def test_so_many_at_once_then_one_in_a_while() -> None:
    now = [100.0]
    rate = Rate(lambda: now[0])
    assert [rate.allow() for _ in range(BURST + 2)] == [True] * BURST + [False, False]
    now[0] += EVERY_SECONDS
    assert [rate.allow(), rate.allow()] == [True, False]
    now[0] -= 1000  # a clock that goes back gives nothing
    assert not rate.allow()
    assert rate.take_refused() == 4
    assert rate.take_refused() == 0
