"""Every backend keeps the contract: each check of `claude_bottle.testing.conformance` on each of them."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path

import pytest

from claude_bottle.backend.base import Backend, Bottle
from claude_bottle.backend.fake.backend import FakeBackend
from claude_bottle.errors import BottleError
from claude_bottle.testing.conformance import DEVIATIONS, Check, NeedsSandbox, Place, checks
from claude_bottle.testing.conformance.deviations import UNPROTECTED
from claude_bottle.testing.conformance.standing import Standing

# Those that share a bottle first, one after the other: while it stands no check forks, counts or ends anything.
CHECKS = sorted(checks(), key=lambda check: not check.shares)


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: f"{check.group}-{check.name}")
def test_it_keeps_the_contract(
    kind: str, backend: Backend, standing: Standing, check: Check, tmp_path: Path
) -> None:  # fmt: skip
    place = Place(backend, tmp_path)
    if not check.shares:
        standing.close()
    if kind in UNPROTECTED and not check.harmless:
        with pytest.raises(NeedsSandbox):
            check.run(place, standing)
    elif check.name in DEVIATIONS[kind]:
        with pytest.raises((AssertionError, BottleError, OSError)):
            check.run(place, standing)
    else:
        check.run(place, standing)


def test_there_are_at_least_sixty_checks_each_with_its_own_name() -> None:
    assert len({check.name for check in CHECKS}) == len(CHECKS) >= 60


def test_no_check_is_lent_a_bottle_in_which_another_failed(tmp_path: Path) -> None:
    given: list[Bottle] = []

    def look(place: Place) -> None:
        with place.up() as bottle:
            given.append(bottle)
            assert len(given) != 2

    check = Check("programs", "look", look, harmless=True, shares=True)
    standing = Standing(FakeBackend(), tmp_path)
    for number in range(3):
        (tmp_path / str(number)).mkdir()
        with pytest.raises(AssertionError) if number == 1 else nullcontext():
            check.run(Place(FakeBackend(), tmp_path / str(number)), standing)
    standing.close()
    first, second, third = given
    assert first is second is not third
    assert not (second.alive() or third.alive())


def test_deviations_name_checks() -> None:
    names = {check.name for check in CHECKS}
    assert {name for known in DEVIATIONS.values() for name in known} <= names
