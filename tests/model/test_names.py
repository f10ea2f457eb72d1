"""Names of agents and identities."""

from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claude_bottle.errors import UsageError
from claude_bottle.model.names import agent_of, check_agent_name, check_identity, new_identity

GOOD = ["a", "claude", "my-agent", "a--b", "a_b", "0", "x" * 40]
BAD = ["", "-a", "--help", "a-", "_a", "A", "a b", "a/b", "..", ".", "a.b", "a\n", "\na", "a\0", "ä", "x" * 41, "a:b", "~"]


@pytest.mark.parametrize("name", GOOD)
def test_a_plain_name_is_accepted_as_it_is(name: str) -> None:
    assert check_agent_name(name) == name


@pytest.mark.parametrize("name", BAD)
def test_case_130_a_name_that_could_be_an_option_a_path_or_two_lines_is_refused(name: str) -> None:
    with pytest.raises(UsageError) as caught:
        check_agent_name(name)
    assert caught.value.exit_code == 2
    assert "\n" not in caught.value.what and "\0" not in caught.value.what


@pytest.mark.parametrize(
    "identity",
    ["", "claude", "claude-k3x9q", "claude-k3x9qaa", "claude-K3X9QA", "-k3x9qa", "../x-k3x9qa", "a/b-k3x9qa",
     "claude-k3x9qa\n", "--all-k3x9qa", "claude-k3x9q.", "claude_k3x9qa"],
)  # fmt: skip
def test_what_is_not_an_identity_is_refused(identity: str) -> None:
    with pytest.raises(UsageError):
        check_identity(identity)


@pytest.mark.parametrize("agent", GOOD)
def test_an_identity_leads_back_to_its_agent(agent: str) -> None:
    identity = new_identity(agent)
    assert check_identity(identity) == identity
    assert agent_of(identity) == agent


def test_a_taken_identity_is_never_given_again(monkeypatch: pytest.MonkeyPatch) -> None:
    draws = iter([b"\0" * 6, b"\0" * 6, b"\1" * 6])
    monkeypatch.setattr("os.urandom", lambda size: next(draws))
    assert new_identity("a", iter(["a-000000"])) == "a-111111"


def test_an_identity_of_a_bad_agent_is_never_made() -> None:
    with pytest.raises(UsageError):
        new_identity("../a")


@given(st.text())
def test_an_accepted_name_holds_nothing_a_shell_a_path_or_a_socket_minds(name: str) -> None:
    try:
        check_agent_name(name)
    except UsageError:
        return
    assert set(name) <= set("abcdefghijklmnopqrstuvwxyz0123456789-_")
    assert 1 <= len(name) <= 40 and name[0] not in "-_"


def test_names_and_events_load_nothing_heavy() -> None:
    code = (
        "import sys; before = set(sys.modules); import claude_bottle.model.names, claude_bottle.model.events\n"
        "print(*sorted(set(sys.modules) - before))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    heavy = {"ipaddress", "subprocess", "socket", "asyncio", "ssl", "random", "hashlib", "unicodedata", "typing",
             "json", "pathlib", "msgspec", "cryptography"}  # fmt: skip
    assert not heavy & set(out)
