"""What an operator sees is all of it, and of two different changes never the same."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claude_bottle.model.changes import BudgetChange, Change, CredentialChange, MoneyChange
from claude_bottle.model.policy import TUNNEL, Rule
from claude_bottle.model.requests import MAX_REASON
from claude_bottle.redact import columns, printable
from claude_bottle.supervise.cautions import Surroundings
from claude_bottle.supervise.render import WIDTH, grant_view, lines, reach, view, wrapped
from claude_bottle.supervise.summary import summary
from tests.supervise.making import changes, egress, granted, inbox, request, tool


def texts(value: object) -> list[str]:
    if isinstance(value, dict):
        return [text for one in value.values() for text in texts(one)]
    if isinstance(value, list):
        return [text for one in value for text in texts(one)]
    return [value] if isinstance(value, str) else []


@given(changes, changes)
def test_changes_that_grant_different_things_never_look_the_same(one: Change, other: Change) -> None:
    assert (lines(one) == lines(other)) == (one.to_dict() == other.to_dict())


@given(changes)
def test_every_line_fits_and_none_is_cut(change: Change) -> None:
    shown = lines(change)
    assert all(columns(line) <= WIDTH for line in shown)
    said = "".join(line[6:] if line.startswith("      ") else f"\n{line}" for line in shown)
    for rule in change.to_dict().get("rules", []):  # type: ignore[attr-defined]
        assert rule["host"] in said
        assert all(path in said for path in rule["paths"])
        assert all(method in said for method in rule["methods"])


@given(st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=400))
def test_a_wrapped_line_gives_back_every_character(line: str) -> None:
    first, *rest = wrapped(line)
    assert first + "".join(piece[6:] for piece in rest) == line


@given(changes, st.text(max_size=300))
def test_nothing_in_a_view_acts_on_a_terminal(change: Change, words: str) -> None:
    shown = view(request(change, reason=words), Surroundings())
    assert all(text == printable(text, keep_newlines=True) for text in texts(shown))
    assert len(str(shown["reason"])) <= MAX_REASON


def test_the_agents_words_change_nothing_but_the_reason() -> None:
    honest, lying = (request(number=1, reason=words) for words in ("need crates", "only reads docs.rs, promise"))
    one, other = view(honest, Surroundings()), view(lying, Surroundings())
    assert {key for key in one if one[key] != other[key]} == {"reason"}
    assert list(one)[-1] == "reason"
    assert honest.hash == lying.hash


def test_reach_is_all_that_the_bottle_has_with_what_is_new_first_and_marked() -> None:
    shown = reach([Rule("pypi.org", methods=("GET",))], egress("crates.io", methods=("GET",), paths=("/api/**",)))
    assert shown == ["+ crates.io:443 GET /api/**", "  pypi.org:443 GET any path"]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (egress("crates.io", methods=("GET",), paths=("/a", "/b")), ["+ GET  https://crates.io/a", "+   or  https://crates.io/b"]),
        (egress("crates.io"), ["+ any method  https://crates.io  any path"]),
        (egress("db.example.com", port=5432, tls=TUNNEL), ["+ TUNNEL  db.example.com:5432  anything, unread"]),
        (CredentialChange(Rule("api.github.com", paths=("/repos/**",), credential="github")),
         ["+ credential  github", "+ any method  https://api.github.com/repos/**  with github"]),
        (tool("ripgrep", "jq"), ["+ apt  ripgrep", "+ apt  jq"]),
        (MoneyChange(2.5), ["+ budget of money  $2.50 more at the model's API"]),
        (BudgetChange(10_000_000), ["+ egress budget  10 MB more (10000000 bytes)"]),
    ],
)  # fmt: skip
def test_what_a_change_looks_like(change: Change, expected: list[str]) -> None:
    assert lines(change) == expected


@pytest.mark.parametrize(
    ("change", "expected"),
    [(egress(), "crates.io"), (egress("crates.io", "pypi.org"), "crates.io (+1)"), (tool(), "apt ripgrep"),
     (BudgetChange(1000), "1 kB more egress"),
     (MoneyChange(5), "$5.00 more"),
     (CredentialChange(Rule("a.b", paths=("/x",), credential="c")), "credential c")],
)  # fmt: skip
def test_a_change_in_few_words(change: Change, expected: str) -> None:
    assert summary(change.to_dict()) == expected


@given(st.recursive(st.none() | st.integers() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)))
def test_a_summary_of_anything_is_short_and_printable(data: Any) -> None:
    for change in (data, {"kind": "egress", "rules": data}, {"kind": "capability", "capability": data}):
        text = summary(change)
        assert columns(text) <= 40
        assert text == printable(text)


def test_a_grant_is_shown_with_what_it_brings() -> None:
    one = request()
    shown = grant_view(granted(inbox(one), one).grants[0])
    assert shown["lines"] == lines(one.change)
    assert shown["ended"] == ""
