"""A file of approvals approves what is written there and nothing beside it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claude_bottle.errors import UsageError
from claude_bottle.model.capability import Capability
from claude_bottle.model.changes import BudgetChange, CapabilityChange, Change, CredentialChange, EgressChange, within
from claude_bottle.model.policy import TUNNEL, Rule
from claude_bottle.supervise.rulefile import Entry, covering, parse
from tests.supervise.making import changes, egress, egresses, tool

CRATES = {"egress": {"host": "crates.io", "methods": ["GET"], "paths": ["/api/**"]}, "scope": "session"}


def entries(*approve: dict[str, Any]) -> tuple[Entry, ...]:
    return parse({"version": 1, "approve": list(approve)})


def test_what_is_written_is_approved() -> None:
    assert covering(entries(CRATES), egress("crates.io", methods=("GET",), paths=("/api/**",))) == (0,)
    assert covering(entries(CRATES), egress("crates.io", methods=("GET",), paths=("/api/v1/x",))) == (0,)


@pytest.mark.parametrize(
    "change",
    [
        egress("crates.io", methods=("POST",), paths=("/api/**",)),
        egress("crates.io", methods=("GET", "POST"), paths=("/api/**",)),
        egress("crates.io", paths=("/api/**",)),
        egress("crates.io", methods=("GET",)),
        egress("crates.io", methods=("GET",), paths=("/**",)),
        egress("crates.io", methods=("GET",), paths=("/api/x", "/other")),
        egress("crates.io", port=8443, methods=("GET",), paths=("/api/x",)),
        egress("crates.io", tls=TUNNEL),
        egress("static.crates.io", methods=("GET",), paths=("/api/x",)),
        EgressChange((Rule("crates.io", methods=("GET",), paths=("/api/x",)), Rule("evil.example.com"))),
        CredentialChange(Rule("crates.io", methods=("GET",), paths=("/api/x",), credential="token")),
        BudgetChange(1),
        tool(),
    ],
)
def test_anything_beside_it_is_not(change: Change) -> None:
    assert covering(entries(CRATES), change) == ()


def test_packages_count_each_and_as_they_are_written() -> None:
    file = entries({"capability": {"apt": ["ripgrep", "jq=1.6"]}, "scope": "session"})
    assert covering(file, tool("ripgrep"))
    assert covering(file, tool("ripgrep", "jq=1.6"))
    for change in (tool("jq"), tool("ripgrep=13"), tool("ripgrep", "git"), CapabilityChange(Capability("npm", ("ripgrep",)))):
        assert not covering(file, change)


def test_one_request_is_not_approved_with_two_scopes() -> None:
    other = {"egress": {"host": "pypi.org"}, "scope": "agent"}
    assert (
        covering(
            entries(CRATES, other), EgressChange((Rule("crates.io", methods=("GET",), paths=("/api/x",)), Rule("pypi.org")))
        )
        == ()
    )
    both = {**other, "scope": "session"}
    assert covering(
        entries(CRATES, both), EgressChange((Rule("crates.io", methods=("GET",), paths=("/api/x",)), Rule("pypi.org")))
    ) == (0, 1)


def test_a_credential_is_approved_by_name_place_and_path() -> None:
    file = entries(
        {"credential": {"host": "api.github.com", "paths": ["/repos/acme/**"], "credential": "github"}, "scope": "once"}
    )

    def asked(name: str = "github", host: str = "api.github.com", path: str = "/repos/acme/x") -> CredentialChange:
        return CredentialChange(Rule(host, paths=(path,), credential=name))

    assert covering(file, asked()) == (0,)
    for change in (asked(name="other"), asked(host="uploads.github.com"), asked(path="/user")):
        assert covering(file, change) == ()
    assert covering(file, asked(), used={0}) == ()


def test_a_budget_is_raised_by_no_more_than_is_written_in_all() -> None:
    file = entries({"budget": {"egress_bytes": 1000}, "scope": "session"})
    assert covering(file, BudgetChange(1000))
    assert not covering(file, BudgetChange(1001))
    assert not covering(file, BudgetChange(500), granted_bytes=501)


@pytest.mark.parametrize(
    "approve",
    [
        {"egress": {"host": "*"}, "scope": "session"}, {"egress": {"host": "169.254.169.254"}, "scope": "session"},
        {"egress": {"host": "metadata.google.internal"}, "scope": "session"}, {"egress": {"host": "com"}, "scope": "session"},
        {"egress": {"host": "crates.io"}}, {"egress": {"host": "crates.io"}, "scope": "until"},
        {"egress": {"host": "crates.io"}, "scope": "session", "note": "x"},
        {"egress": {"hosts": ["a.b"]}, "scope": "session"},
        {"egress": {"host": "crates.io"}, "capability": {"apt": ["jq"]}, "scope": "session"}, {"scope": "session"}, 7,
        {"capability": {"dockerfile": "RUN make"}, "scope": "session"}, {"capability": {"apt": ["jq"]}, "scope": "once"},
        {"capability": {"apt": ["-o", "x"]}, "scope": "session"}, {"budget": 7, "scope": "session"},
        {"credential": {"host": "a.example.com", "paths": ["/**"], "credential": "x"}, "scope": "session"},
    ],
)  # fmt: skip
def test_what_no_approval_may_lift_or_is_not_said_clearly_is_refused(approve: Any) -> None:
    with pytest.raises(UsageError) as refused:
        entries(CRATES, approve)
    assert "approve[1]" in refused.value.why


@pytest.mark.parametrize(
    "data", [{}, {"version": 2, "approve": []}, {"version": 1}, {"version": 1, "approve": [], "all": True}]
)
def test_a_file_of_another_shape_is_refused(data: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        parse(data)


@given(changes)
def test_an_entry_is_what_it_was_after_a_plan(change: Change) -> None:
    entry = Entry(change, "session")
    assert Entry.from_dict(entry.to_dict()) == entry


@given(st.lists(egresses, min_size=1, max_size=3), egresses)
def test_whatever_is_approved_is_within_what_is_written(written: list[EgressChange], asked: EgressChange) -> None:
    file = [Entry(EgressChange((rule,)), "session") for change in written for rule in change.rules]
    if covering(file, asked):
        rules = [rule for change in written for rule in change.rules]
        assert all(any(within(rule, wide) for wide in rules) for rule in asked.rules)
