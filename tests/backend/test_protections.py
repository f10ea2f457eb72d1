"""What the plan says about the layers, and that it says so when one is weaker."""

from __future__ import annotations

import os
from dataclasses import replace

import pytest

from claude_bottle.backend.bubblewrap.protections import protections
from tests import in_bottle
from tests.ordinary_user import Person


def _own_id(*groups: str) -> str:
    (found,) = [one for one in protections(root=False, groups=groups) if one.name == "own user id"]
    assert found.state == "weaker"
    return found.why


def test_groups_that_cannot_be_taken_away_are_named() -> None:
    assert "groups" not in _own_id()
    assert _own_id("docker", "adm").endswith("keeps their groups, which only root could take away: docker, adm")


def test_a_bottle_of_roots_has_an_id_of_its_own() -> None:
    assert [one.state for one in protections(root=True) if one.name == "own user id"] == ["on"]


def test_every_layer_that_is_not_on_says_why() -> None:
    for root in (True, False):
        assert all(one.state == "on" or one.why for one in protections(root=root))


def test_a_user_in_groups_has_a_bottle_that_keeps_them_and_is_told(everybody: dict[str, Person]) -> None:
    if os.geteuid() != 0:
        pytest.skip("cannot run here: only root can give a test user other groups")
    user = everybody["user"]
    member = replace(user, prefix=tuple("--groups=4,61999" if word == "--clear-groups" else word for word in user.prefix))
    assert in_bottle.run(member, ["id", "-G"])["out"].split() == ["1000", "65534"]
    told = "from claude_bottle.backend.bubblewrap.protections import supplementary_groups as groups; print(groups())"
    assert member.run([member.python, "-c", told]).stdout == "('adm', '61999')\n"
