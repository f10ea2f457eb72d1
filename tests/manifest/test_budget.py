"""How much a bottle may send: read, shown, and never more by a merge or a changed manifest than its operator said."""

from __future__ import annotations

from typing import Any

import pytest

from claude_bottle.manifest.bottle import Bottle
from claude_bottle.manifest.compare import bottle_widening, narrow
from claude_bottle.manifest.compare_plans import plan_widening
from tests.manifest.conftest import Place
from tests.manifest.test_image import Judge, manifest


def bottle(limit: int | None) -> Bottle:
    return Bottle("web", egress_bytes=limit)


@pytest.mark.parametrize(("said", "count"), [("50m", 50 << 20), ("1g", 1 << 30), ("0", 0), ("1000b", 1000)])
def test_a_budget_is_read_as_it_is_written(place: Place, said: str, count: int) -> None:
    place.home(manifest(budget={"egress_bytes": said}))
    found = place.resolve().bottles["web"]
    assert found.egress_bytes == count
    assert found.to_dict()["budget"] == {"egress_bytes": f"{count}b"}


@pytest.mark.parametrize(
    "budget", [{"egress_bytes": 5}, {"egress_bytes": "-1"}, {"egress_bytes": "much"}, {"usd": "5"}, {"usd": -1}, {"usd": 1e9},
               {"usd": True}, {"bytes": "5m"}, []]
)
def test_what_is_no_budget_is_refused(bottle_problems: Judge, budget: Any) -> None:
    assert len(bottle_problems(budget=budget)) == 1


def test_without_a_word_there_is_no_bound(place: Place) -> None:
    place.home(manifest())
    assert place.resolve().bottles["web"].egress_bytes is None


@pytest.mark.parametrize(
    ("home", "project", "both"), [(None, None, None), (10, None, 10), (None, 10, 10), (10, 5, 5), (10, 50, 10), (0, 5, 0)]
)
def test_of_two_budgets_the_smaller_one_counts(home: int | None, project: int | None, both: int | None) -> None:
    made, left_out = narrow(bottle(home), bottle(project))
    assert made.egress_bytes == both
    assert bool(left_out) == (home is not None and project is not None and project > home)


@pytest.mark.parametrize(("old", "new", "wider"), [(10, 20, True), (10, None, True), (None, 10, False), (10, 10, False)])
def test_a_larger_budget_is_asked_about(old: int | None, new: int | None, wider: bool) -> None:
    assert bool(bottle_widening(bottle(old), bottle(new))) == wider
    plans = [{"budget": {"egress_bytes": one} if one is not None else {}} for one in (old, new)]
    assert bool(plan_widening(*plans)) == wider


@pytest.mark.parametrize("said", [5, 0.5, 0])
def test_dollars_are_read_as_they_are_written(place: Place, said: float) -> None:
    place.home(manifest(budget={"usd": said, "egress_bytes": "5m"}))
    found = place.resolve().bottles["web"]
    assert found.usd == said
    assert found.to_dict()["budget"] == {"egress_bytes": f"{5 << 20}b", "usd": said}


@pytest.mark.parametrize(("old", "new", "wider"), [(5, 20, True), (5, None, True), (None, 5, False), (5, 5, False)])
def test_more_dollars_are_asked_about_and_the_smaller_bound_counts(
    old: float | None, new: float | None, wider: bool
) -> None:
    assert bool(bottle_widening(Bottle("web", usd=old), Bottle("web", usd=new))) == wider
    plans = [{"budget": {"usd": one} if one is not None else {}} for one in (old, new)]
    assert bool(plan_widening(*plans)) == wider
    both = [one for one in (old, new) if one is not None]
    assert narrow(Bottle("web", usd=old), Bottle("web", usd=new))[0].usd == min(both)
