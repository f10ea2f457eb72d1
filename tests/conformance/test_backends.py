"""Every backend keeps the contract: each check of `claude_bottle.testing.conformance` on each of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from claude_bottle.backend.base import Backend
from claude_bottle.errors import BottleError
from claude_bottle.testing.conformance import DEVIATIONS, Check, NeedsSandbox, Place, checks
from claude_bottle.testing.conformance.deviations import UNPROTECTED

CHECKS = checks()


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: f"{check.group}-{check.name}")
def test_it_keeps_the_contract(kind: str, backend: Backend, check: Check, tmp_path: Path) -> None:
    place = Place(backend, tmp_path)
    if kind in UNPROTECTED and not check.harmless:
        with pytest.raises(NeedsSandbox):
            check.run(place)
    elif check.name in DEVIATIONS[kind]:
        with pytest.raises((AssertionError, BottleError, OSError)):
            check.run(place)
    else:
        check.run(place)


def test_there_are_at_least_sixty_checks_each_with_its_own_name() -> None:
    assert len({check.name for check in CHECKS}) == len(CHECKS) >= 60


def test_deviations_name_checks() -> None:
    names = {check.name for check in CHECKS}
    assert {name for known in DEVIATIONS.values() for name in known} <= names
