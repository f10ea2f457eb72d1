"""An agent that its manifest gives a skill: real Claude Code knows it, and the plan shows it."""

from __future__ import annotations

import json
from pathlib import Path

from tests.e2e.project import MANIFEST, Project

SKILL = """---
name: weigh-anchors
description: Weighs anchors the way the harbour master wants it.
---
Say that the anchor is weighed.
"""


def test_the_agent_knows_its_skill_and_the_plan_shows_it(project: Project) -> None:
    skill = project.place / "skills/weigh-anchors"
    skill.mkdir(parents=True)
    (skill / "SKILL.md").write_text(SKILL)
    agent = {"bottle": "model", "harness": "claude", "skills": ["skills/weigh-anchors"]}
    project.write({**MANIFEST, "agents": {"claude": agent}})
    project.trust()
    plan = json.loads(project.do("start", "claude", "--dry-run", "--format", "json"))
    assert [one["name"] for one in plan["skills"]] == ["weigh-anchors"]
    assert f"weigh-anchors ({plan['skills'][0]['sha256'][:8]})" in project.do("start", "claude", "--dry-run")

    done = project.run("run", "claude", "--", "-p", "hello")
    assert done.returncode == 0, done.stderr
    assert "the way the harbour master wants it" in json.dumps([turn.body for turn in project.seen])
    # What the skill says by now counts, and the plan that was agreed to is another one.
    (skill / "SKILL.md").write_text(SKILL.replace("harbour", "dock"))
    refused = project.run("start", "claude", "--yes", "--detach", "--expect-plan", plan["digest"])
    assert refused.returncode == 3, refused.stderr


def test_a_skill_that_is_a_link_out_of_the_project_is_refused(project: Project, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "SKILL.md").write_text(SKILL)
    (project.place / "linked").symlink_to(outside)
    project.write({**MANIFEST, "agents": {"claude": {"bottle": "closed", "harness": "claude", "skills": ["linked"]}}})
    project.trust()
    done = project.run("start", "claude", "--yes", "--detach")
    assert done.returncode == 1
    assert "cannot read a skill of claude" in done.stderr
    assert project.listing() == []
