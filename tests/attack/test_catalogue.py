"""The maps from attack and fault to test: whole, for both persons on every backend, and the same as the documentation's."""

from __future__ import annotations

from tests.attack import catalogue
from tests.attack.conftest import BACKENDS, EVERYONE
from tests.attack.operators import APART


def test_every_promised_case_is_tried_in_real_bottles() -> None:
    tried = catalogue.tests_by_case()
    assert sorted(number for number in catalogue.PROMISED if not tried.get(number)) == []


def test_root_and_an_ordinary_user_are_attacked_on_every_backend() -> None:
    everyone = {(person, backend) for person in ("root", "user") for backend in BACKENDS}
    assert set(EVERYONE) == everyone | {("root", APART)}


def test_a_test_that_stands_for_a_case_runs_in_a_real_bottle_and_knows_its_case() -> None:
    for _, name, cases, fixtures in catalogue.tests():
        assert cases <= set(catalogue.CASES), name
        assert fixtures & catalogue.FIXTURES, name


def test_the_documentation_lists_every_case_and_fault_with_its_tests() -> None:
    text = catalogue.PAGE.read_text()
    assert text == catalogue.page(text), "run: python -m tests.attack.catalogue"
