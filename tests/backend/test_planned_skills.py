"""The skills of an agent are read whole, from below its manifest, and through no link."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from claude_bottle.backend import planned_skills
from claude_bottle.backend.planned_skills import skills
from claude_bottle.errors import BottleError
from claude_bottle.harness.base import Skill
from claude_bottle.manifest.bottle import Agent

SECRET = "the operator's own"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret/SKILL.md").write_text(SECRET)
    review = tmp_path / "project/skills/review"
    (review / "scripts").mkdir(parents=True)
    (review / "SKILL.md").write_text("---\nname: review\n---\nLook.\n")
    (review / "scripts/look").write_text("#!/bin/sh\n")
    (review / "scripts/look").chmod(0o755)
    return tmp_path / "project"


def read(project: Path, *paths: str) -> tuple[Skill, ...]:
    return skills(Agent("a", "b", directory=project, skills=paths or ("skills/review",)))


def refused(project: Path, *paths: str) -> str:
    with pytest.raises(BottleError) as problem:
        read(project, *paths)
    assert "SKILL.md" in problem.value.do
    return problem.value.why


def test_a_skill_is_its_files_with_their_bytes(project: Path) -> None:
    (found,) = read(project)
    assert found.name == "review"
    assert found.files == (
        ("SKILL.md", b"---\nname: review\n---\nLook.\n", False),
        ("scripts/look", b"#!/bin/sh\n", True),
    )


def test_whatever_changes_in_it_changes_what_it_is_called_in_the_plan(project: Path) -> None:
    digests = [read(project)[0].sha256]
    look = project / "skills/review/scripts/look"
    look.chmod(0o644)
    digests.append(read(project)[0].sha256)
    look.write_text("#!/bin/bash\n")
    digests.append(read(project)[0].sha256)
    look.rename(look.with_name("looks"))
    digests.append(read(project)[0].sha256)
    assert len(set(digests)) == 4


@pytest.mark.parametrize("where", ["skills/review/x", "skills/review/scripts/x", "skills/other", "more"])
def test_no_link_is_followed(project: Path, where: str) -> None:  # threats 129
    (project / where).symlink_to(project.parent / "secret")
    path = where if "review" not in where else "skills/review"
    assert refused(project, "more/SKILL.md" if where == "more" else path)
    (project / where).unlink()
    (project / where).symlink_to(project.parent / "secret/SKILL.md")
    assert refused(project, path)


def test_what_is_no_file_is_refused_without_waiting_for_it(project: Path) -> None:
    os.mkfifo(project / "skills/review/pipe")
    assert refused(project) == "skills/review: pipe is neither a file nor a directory"


def test_what_is_missing_or_no_skill_is_refused(project: Path) -> None:
    assert refused(project, "skills/none") == "skills/none: No such file or directory"
    assert refused(project, "skills") == "skills: it has no SKILL.md"
    assert refused(project, "skills/review/SKILL.md")


def test_there_are_bounds(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planned_skills, "MOST_BYTES", 30)
    assert "more than" in refused(project)
    monkeypatch.undo()
    monkeypatch.setattr(planned_skills, "MOST_FILES", 1)
    assert "more than" in refused(project)
    monkeypatch.undo()
    deep = project / "skills/review" / "/".join("d" * 10)
    deep.mkdir(parents=True)
    (deep / "x").touch()
    assert "cannot be part" in refused(project)
