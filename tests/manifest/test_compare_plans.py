"""Case 110: a stopped bottle gets nothing more than it had without being asked about, whatever part of the plan grew."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from claude_bottle.manifest.compare_plans import plan_widening
from claude_bottle.model.credentials import CredentialSpec
from claude_bottle.model.plan import BottlePlan, Mount, PlannedCredential, Workspace
from claude_bottle.model.policy import Rule


def credential(variable: str) -> PlannedCredential:
    spec = CredentialSpec("k", "env", variable, "K", "x-api-key")
    return PlannedCredential(spec, (("a.example.com", 443),))


PLAN = BottlePlan(
    slug="dev-000000", agent="dev", harness="claude", harness_version="", backend="bubblewrap", image="", command=(),
    workspace=Workspace("bind", "/workspace", "/src/shop"),
    mounts=(Mount("/srv/a", "/srv/a", "ro"),),
    egress=(Rule("a.example.com", paths=("/v1/**",), credential="k"),),
    credentials=(credential("A"),),
)  # fmt: skip


def stored(plan: BottlePlan) -> dict[str, Any]:
    return dict(json.loads(json.dumps(plan.to_dict())))


def test_the_same_plan_read_from_disk_is_no_widening() -> None:
    assert plan_widening(stored(PLAN), PLAN.to_dict()) == []


def test_a_tightened_plan_is_no_widening() -> None:
    tight = replace(PLAN, workspace=Workspace("none", "/workspace"), mounts=(), egress=(), credentials=())
    assert plan_widening(stored(PLAN), tight.to_dict()) == []


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"egress": (*PLAN.egress, Rule("b.example.com"))}, "reach b.example.com: any method on any path"),
        ({"egress": (Rule("a.example.com", paths=("/v2",), credential="k"),)}, "reach a.example.com: any method /v2 with"),
        ({"mounts": (Mount("/srv/a", "/srv/a", "rw"),)}, "read and write /srv/a"),
        ({"mounts": (Mount("/srv/b", "/srv/a", "ro"),)}, "read /srv/b"),
        ({"credentials": (credential("B"),)}, "use the credential k from env: B"),
        ({"workspace": Workspace("bind", "/workspace", "/src/other")}, "read and write the directory"),
    ],
)
def test_case_110_whatever_grew_is_named(change: dict[str, Any], words: str) -> None:
    (line,) = plan_widening(stored(PLAN), replace(PLAN, **change).to_dict())
    assert words in line


@pytest.mark.parametrize("damage", [{}, {"egress": 5, "mounts": {}, "credentials": [1], "workspace": []}])
def test_a_damaged_earlier_plan_makes_everything_count_as_more(damage: dict[str, Any]) -> None:
    assert len(plan_widening(damage, PLAN.to_dict())) == 4


def test_a_broken_rule_of_the_earlier_plan_covers_nothing() -> None:
    old = stored(PLAN)
    old["egress"][0]["host"] = "*"
    assert len(plan_widening(old, PLAN.to_dict())) == 1
