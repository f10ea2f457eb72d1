"""Grants written into a manifest's text."""

from __future__ import annotations

import json
from typing import Any

import pytest

from claude_bottle.errors import BottleError
from claude_bottle.manifest.patch import patched
from claude_bottle.model.changes import BudgetChange, Change, MoneyChange, change_from_dict

TEXT = """{
  "version": 1,
  "bottles": {
    "web": {
      "egress": [
        {"preset": "pypi"},
        {"host": "docs.rs", "methods": ["GET"], "note": "reading"}
      ],
      "budget": {"egress_bytes": "50m"}
    },
    "bare": {}
  },
  "agents": {"a": {"bottle": "web"}}
}
"""
CREDENTIAL = {"kind": "credential", "rule": {"host": "api.github.com", "paths": ["/repos/**"], "credential": "github"}}
DEFINITION = {"from": {"env": "GH"}, "env": "GITHUB_TOKEN", "header": "Authorization"}


def egress(**rule: Any) -> Change:
    return change_from_dict({"kind": "egress", "rules": [rule]})


def added(before: str, after: str) -> list[str]:
    """The lines that are new; every old one must still be there, but for a comma."""
    import difflib

    diff = list(difflib.ndiff(before.splitlines(), after.splitlines()))
    gone = [line[2:] for line in diff if line.startswith("- ")]
    new = [line[2:] for line in diff if line.startswith("+ ")]
    assert all(f"{line}," in new for line in gone), (gone, new)
    return [line.strip() for line in new if line[:-1] not in gone]


def test_a_rule_becomes_one_line() -> None:
    made = patched(TEXT, "web", [egress(host="crates.io", methods=["GET"], paths=["/api/**"])], {})
    assert added(TEXT, made) == ['{"host": "crates.io", "methods": ["GET"], "paths": ["/api/**"]}']


def test_what_is_granted_already_changes_nothing() -> None:
    assert patched(TEXT, "web", [egress(host="docs.rs", methods=["GET"], paths=["/std/**"])], {}) == TEXT


def test_what_is_wider_than_what_is_granted_is_added() -> None:
    assert len(added(TEXT, patched(TEXT, "web", [egress(host="docs.rs")], {}))) == 1


def test_a_bottle_without_a_list_gets_one() -> None:
    made = patched(TEXT, "bare", [egress(host="crates.io", port=8443, tls="tunnel")], {})
    assert json.loads(made)["bottles"]["bare"] == {"egress": [{"host": "crates.io", "port": 8443, "tls": "tunnel"}]}


def test_a_credential_brings_its_definition_and_its_rule() -> None:
    made = json.loads(patched(TEXT, "web", [change_from_dict(CREDENTIAL)], {"github": DEFINITION}))["bottles"]["web"]
    assert made["credentials"] == {"github": DEFINITION}
    assert made["egress"][-1] == {"host": "api.github.com", "paths": ["/repos/**"], "credential": "github"}


def test_a_credential_that_is_defined_is_not_defined_again() -> None:
    once = patched(TEXT, "web", [change_from_dict(CREDENTIAL)], {"github": DEFINITION})
    assert patched(once, "web", [change_from_dict(CREDENTIAL)], {"github": {"other": 1}}) == once


@pytest.mark.parametrize(("before", "more", "after"), [('"50m"', 50 << 20, '"100m"'), ("10", 7, "17"), ('"1k"', 1, "1025")])
def test_a_budget_is_raised_by_what_was_granted(before: str, more: int, after: str) -> None:
    text = TEXT.replace('"50m"', before)
    made = patched(text, "web", [BudgetChange(more)], {})
    assert made == text.replace(f'"egress_bytes": {before}', f'"egress_bytes": {after}')


def test_a_budget_of_money_is_raised_by_what_was_granted() -> None:
    text = TEXT.replace('"50m"', '"50m", "usd": 5')
    assert patched(text, "web", [MoneyChange(2.5)], {}) == text.replace('"usd": 5', '"usd": 7.5')


def test_a_bottle_without_a_budget_has_none_to_raise() -> None:
    with pytest.raises(BottleError, match="no budget of money"):
        patched(TEXT, "web", [MoneyChange(5)], {})
    with pytest.raises(BottleError, match="no budget"):
        patched(TEXT, "bare", [BudgetChange(5)], {})
