"""The keeper with a real bottle and a real gate, as root and as an ordinary user."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.ordinary_user import Person
from tests.persons import everybody, person

__all__ = ["everybody", "person"]

_seen: dict[str, Any] = {}


@pytest.fixture
def seen(person: Person) -> Any:
    """What `tests.keeper.real` reports; it runs once for each person."""
    if person.name not in _seen:
        done = person.run(person.module("tests.keeper.real", str(person.directory("keeper"))))
        assert done.returncode == 0, done.stderr
        _seen[person.name] = json.loads(done.stdout)
    return _seen[person.name]


def test_a_run_passes_streams_and_exit_code_and_may_open_them_by_name(seen: Any) -> None:
    assert seen["pipes"]["code"] == 4
    assert seen["pipes"]["err"] == "by-name\n"
    assert seen["pipes"]["out"].startswith("agent\n")
    assert seen["pipes"]["out"].endswith("by-name\n")
    assert seen["pipes"]["settled"]["preserved"] == ["exit 4"]


def test_a_session_has_a_terminal_a_gate_and_programs_beside_it(seen: Any) -> None:
    assert seen["terminal"]["gate"] == "up"
    assert seen["terminal"]["exec"]["code"] == 0
    assert "no-name" in seen["terminal"]["exec"]["out"]
    assert seen["terminal"]["size"] == "24 80\nnamed\n"
    assert seen["terminal"]["code"] == 3
    assert seen["terminal"]["settled"]["preserved"] == ["exit 3"]


def test_nothing_of_a_bottle_outlives_its_killed_keeper(seen: Any) -> None:
    assert seen["killed"]["family"] >= 3
    assert all(seen["killed"]["ended"])


def test_ctrl_c_reaches_the_agent(seen: Any) -> None:
    assert seen["leader"]["code"] == 7


def test_the_keepers_memory_is_hidden_from_other_programs_of_its_user(seen: Any, person: Person) -> None:
    """What hides its memory belongs to root in /proc (proc(5)); root itself sees everything anyway."""
    if person.uid == 0:
        pytest.skip("cannot run here: root sees everything")
    assert seen["terminal"]["hidden"] == 0
