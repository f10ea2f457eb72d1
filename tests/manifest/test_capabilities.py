"""`capabilities` in a manifest: judged with their places, consented to, never added by a project on its own."""

from __future__ import annotations

import json

import pytest

from claude_bottle.manifest.bottle import Bottle
from claude_bottle.manifest.compare import bottle_widening
from claude_bottle.manifest.compare_plans import plan_widening
from claude_bottle.manifest.words import grants
from claude_bottle.model.capability import Capability
from claude_bottle.model.plan import BottlePlan, Layer, Workspace
from claude_bottle.values import replace
from tests.manifest.conftest import Place

APT = {"apt": ["ripgrep"]}
PIP = {"pip": ["ruff==0.9.1"]}


def manifest(*capabilities: object) -> dict[str, object]:
    agents = {"a": {"bottle": "b", "harness": "shell"}}
    return {"version": 1, "bottles": {"b": {"capabilities": list(capabilities)}}, "agents": agents}


def loaded(place: Place, *capabilities: object) -> Bottle:
    place.project(manifest(*capabilities))
    return place.resolve().bottles["b"]


def test_they_are_read_in_order_and_said_again(place: Place) -> None:
    first = loaded(place, APT, PIP, {"dockerfile": "RUN x", "network": True})
    assert [one.kind for one in first.capabilities] == ["apt", "pip", "dockerfile"]
    again = place.resolve().to_dict()
    place.project(again)
    assert place.resolve().bottles["b"] == first


@pytest.mark.parametrize(
    ("said", "words"),
    [({"apt": ["--yes"]}, "'--yes' is no package of apt"), ({}, "exactly one of"),
     ({"apt": ["xx"], "pip": ["y"]}, "exactly one of"),
     ({"apt": []}, "takes 1 to"), ({"brew": ["x"]}, 'unknown key "brew"'), ({"apt": "ripgrep"}, "expected a list"),
     ({"dockerfile": "FROM x"}, "FROM is not taken"), ({"apt": ["aa"], "network": True}, "nothing else"), (APT, "twice")],
)  # fmt: skip
def test_what_is_wrong_is_told_with_its_line(place: Place, said: object, words: str) -> None:
    text = json.dumps(manifest(APT, said), indent=1)
    (problem,) = place.problems(text)
    assert words in problem
    line = int(problem.split(":")[0])
    assert line > text[: text.index("capabilities")].count("\n") + 1


def test_each_is_a_grant_that_consent_names(place: Place) -> None:
    first, second = grants(loaded(place, APT, {"dockerfile": "RUN x"}))
    assert first == "b: build and use the layer apt ripgrep"
    assert "without a network (sha256 " in second  # its content is part of what is agreed to


def test_a_project_that_adds_one_needs_consent(place: Place) -> None:
    place.project(manifest(APT))
    consent = place.resolve().consent
    assert consent is not None
    assert consent.grants == ("b: build and use the layer apt ripgrep",)


def test_a_project_adds_none_to_a_home_bottle(place: Place) -> None:
    place.home(manifest(APT))
    place.project(manifest(PIP))
    made = place.resolve()
    assert made.bottles["b"].capabilities == (Capability.from_dict(APT),)
    assert any("pip ruff==0.9.1" in line for line in made.warnings)


def test_one_more_is_wider(place: Place) -> None:
    old, new = loaded(place, APT), loaded(place, APT, PIP)
    assert bottle_widening(old, new) == ["build and use the layer pip ruff==0.9.1"]
    assert bottle_widening(new, old) == []


def test_resume_asks_for_a_layer_that_was_neither_planned_nor_granted() -> None:
    apt, pip = Capability.from_dict(APT), Capability.from_dict(PIP)
    plan = BottlePlan("s-1", "a", "shell", "", "b", "", (), Workspace("none", "/workspace"), layers=(Layer(apt, "n1"),))
    more = replace(plan, layers=(*plan.layers, Layer(pip, "n2")))
    assert plan_widening(plan.to_dict(), more.to_dict()) == ["one more layer: pip ruff==0.9.1"]
    assert plan_widening(plan.to_dict(), more.to_dict(), {pip.digest}) == []
    assert plan_widening(more.to_dict(), plan.to_dict()) == []


