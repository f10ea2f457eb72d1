"""Layers: what is built is there in the next bottle and nowhere else, once, in order, and a failure leaves nothing.

What can be built without a network differs, so the place of the checks brings a capability that makes the program `layered`
(which prints `layered`), one that makes `another`, and one that cannot be built.
"""

from __future__ import annotations

from claude_bottle.errors import BottleError
from claude_bottle.model.plan import BottlePlan
from claude_bottle.testing.conformance.place import Place, run
from claude_bottle.testing.conformance.registry import group

layers = group("layers", harmless=True)


def _built(place: Place, plan: BottlePlan, name: str, lines: list[str] | None = None) -> BottlePlan:
    told = [] if lines is None else lines
    return place.backend.build_layer(plan, place.capability(name), told.append, place.outlet)


def _runs(place: Place, plan: BottlePlan, program: str) -> str:
    with place.up(plan=plan) as bottle:
        return run(bottle, ["sh", "-c", f"command -v {program} > /dev/null && {program} || echo none"]).out


@layers
def a_layer_is_in_every_bottle_of_its_plan(place: Place) -> None:
    plan = place.plan()
    layered = _built(place, plan, "layered")
    assert _runs(place, layered, "layered") == "layered\n"
    assert _runs(place, plan, "layered") == "none\n"


@layers
def a_layer_is_named_beforehand(place: Place) -> None:
    plan, capability = place.plan(), place.capability("layered")
    wanted = place.backend.with_layer(plan, capability)
    assert wanted.layers[-1].capability == capability
    assert wanted.digest != plan.digest
    assert _built(place, plan, "layered") == wanted == place.backend.with_layer(plan, capability)
    assert place.backend.below(wanted, 0) == plan


@layers
def a_layer_is_built_once(place: Place) -> None:
    plan, lines = place.plan(), list[str]()
    _built(place, plan, "layered", lines)
    again = list[str]()
    _built(place, plan, "layered", again)
    assert again == []


@layers
def layers_stand_on_each_other(place: Place) -> None:
    plan = place.plan()
    both = _built(place, _built(place, plan, "layered"), "another")
    assert [layer.capability for layer in both.layers] == [place.capability("layered"), place.capability("another")]
    assert _runs(place, both, "layered") == "layered\n"
    assert _runs(place, both, "another") == "another\n"
    alone = place.backend.with_layer(plan, place.capability("another"))
    assert alone.layers[0].name != both.layers[1].name


@layers
def a_running_bottle_does_not_see_what_is_built(place: Place) -> None:
    plan = place.plan()
    with place.up(plan=plan) as bottle:
        _built(place, plan, "another")
        assert run(bottle, ["sh", "-c", "command -v another || echo none"]).out == "none\n"


@layers
def a_failed_build_says_why_and_leaves_what_there_was(place: Place) -> None:
    plan = _built(place, place.plan(), "layered")
    try:
        _built(place, plan, "missing")
    except BottleError as problem:
        assert problem.why.isprintable() or "\n" in problem.why
    else:
        raise AssertionError("it was built")
    assert _runs(place, plan, "layered") == "layered\n"


@layers
def a_missing_layer_stops_the_launch(place: Place) -> None:
    plan = place.backend.with_layer(place.plan(), place.capability("never-built"))
    try:
        with place.up(plan=plan):
            raise AssertionError("it was launched")
    except BottleError:
        pass
