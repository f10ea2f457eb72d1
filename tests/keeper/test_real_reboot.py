"""A real bottle with a real gate that boots again in its keeper, as root and as an ordinary user."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.ordinary_user import Person
from tests.persons import everybody, person
from tests.registries import Registries, served

__all__ = ["everybody", "person"]
SLOW = "import time; print('waiting'); time.sleep(1000)"


@pytest.fixture
def registries(person: Person) -> Iterator[Registries]:
    with served(person.directory("registries")) as made:
        for name in ("one", "two"):
            made.python(name, says=name)
        made.source("slow", SLOW)
        yield made


def seen(person: Person, registries: Registries, what: str) -> Any:
    settings = json.dumps(registries.settings())
    done = person.run(person.module("tests.keeper.rebooting", what, str(person.directory("keeper")), settings))
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_bottle_boots_again_with_another_layer_twice(person: Person, registries: Registries) -> None:
    """An ordinary user's keeper has hidden its memory by then, and in /proc what hides is root's, id maps too."""
    found = seen(person, registries, "again")
    assert found["told"] == [["applied", "in force"]] * 2, found
    assert (found["keeper"], found["gate"], found["hidden"]) == (True, "up", 0)
    # What `one` and `two` said when nobody had them went to the terminal.
    assert found["inside"]["out"] == "one\ntwo\n198.18.\nlife\nlife\none\nlife\none\ntwo\n", found["inside"]
    assert found["settled"]["preserved"] == []


def test_nothing_of_a_build_outlives_a_killed_keeper(person: Person, registries: Registries) -> None:
    found = seen(person, registries, "killed")
    assert found["family"] >= 6  # agent, gate, builder, its gate, its bottle, what runs in that
    assert found["gone"]
