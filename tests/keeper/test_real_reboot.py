"""A real bottle with a real gate that boots again in its keeper, as root and as an ordinary user."""

from __future__ import annotations

import json

from tests.ordinary_user import Person
from tests.persons import everybody, person
from tests.registries import Registries

__all__ = ["everybody", "person"]


def test_a_bottle_boots_again_with_another_layer_twice(person: Person) -> None:
    """An ordinary user's keeper has hidden its memory by then, and in /proc what hides is root's, id maps too."""
    place = person.directory("registries")
    place.chmod(0o755)
    registries = Registries(place)
    try:
        registries.ca_file.chmod(0o644)
        for name in ("one", "two"):
            registries.python(name, says=name)
        settings = json.dumps(registries.settings())
        done = person.run(person.module("tests.keeper.rebooting", str(person.directory("keeper")), settings))
    finally:
        registries.close()
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout)
    assert seen["told"] == [["applied", ""]] * 2, seen
    assert (seen["keeper"], seen["gate"], seen["hidden"]) == (True, "up", 0)
    # What `one` and `two` said when nobody had them went to the terminal.
    assert seen["inside"]["out"] == "one\ntwo\n198.18.\nlife\nlife\none\nlife\none\ntwo\n", seen["inside"]
    assert seen["settled"]["preserved"] == []
