"""Git's work trees in private workspaces: those whose repository lies elsewhere work, and nobody else's is brought."""

from __future__ import annotations

from pathlib import Path

import pytest

from claude_bottle.backend import tree, work_trees
from claude_bottle.backend.git_source import inner_work_trees
from tests.backend.test_clone import git


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A repository with a linked work tree inside and one beside it."""
    place = tmp_path / "project"
    place.mkdir()
    git(place, "init", "-q", "-b", "main")
    (place / "a").write_text("a\n")
    git(place, "add", ".")
    git(place, "commit", "-qm", "first")
    git(place, "worktree", "add", "-q", "trees/inner", "-b", "inner")
    git(place, "worktree", "add", "-q", str(tmp_path / "linked"), "-b", "side")
    return place


def copied(source: Path, place: Path) -> bool:
    place.mkdir()
    tree.copy_into(source, place)
    return work_trees.settle(source, place, layer=False)


def test_a_copy_of_a_linked_work_tree_has_a_repository_of_its_own(project: Path, tmp_path: Path) -> None:
    linked, place = tmp_path / "linked", tmp_path / "copy"
    (linked / "a").write_text("changed\n")
    (linked / "staged").write_text("s\n")
    git(linked, "add", "staged")
    assert work_trees.wanted(linked)
    assert copied(linked, place)
    for one in (linked, place):
        assert git(one, "status", "--short", "--branch") == "## side\n M a\nA  staged\n"
    assert git(place, "branch", "--format=%(refname:short)").split() == ["inner", "main", "side"]
    git(place, "commit", "-qam", "of the copy")
    assert git(linked, "log", "--format=%s") == "first\n"
    git(place, "fsck", "--strict")


def test_a_layer_over_a_submodule_has_one_too(project: Path, tmp_path: Path) -> None:
    outer, layer = tmp_path / "outer", tmp_path / "layer"
    for place in (outer, layer):
        place.mkdir()
    git(outer, "init", "-q")
    git(outer, "-c", "protocol.file.allow=always", "submodule", "--quiet", "add", str(project), "sub")
    assert work_trees.settle(outer / "sub", layer, layer=True)
    assert sorted(path.name for path in layer.iterdir()) == [".git"]
    assert git(layer, "log", "--format=%s", "main") == "first\n"


def test_work_trees_inside_find_their_repository(project: Path, tmp_path: Path) -> None:
    assert inner_work_trees(project) == [("inner", "trees/inner")]
    assert not copied(project, tmp_path / "copy")
    assert git(tmp_path / "copy/trees/inner", "status", "--short", "--branch") == "## inner\n"
    assert (tmp_path / "copy/.git/worktrees/inner/gitdir").read_text() == "/workspace/trees/inner/.git\n"
    (tmp_path / "layer").mkdir()
    (project / "trees").chmod(0o750)
    work_trees.settle(project, tmp_path / "layer", layer=True)
    assert (tmp_path / "layer/trees/inner/.git").read_text() == "gitdir: ../../.git/worktrees/inner\n"
    assert (tmp_path / "layer/trees").stat().st_mode & 0o777 == 0o750


def test_what_a_copy_left_out_is_not_made_again(project: Path, tmp_path: Path) -> None:
    for place in (project, tmp_path / "linked"):
        (place / ".dockerignore").write_text(".git\ntrees\n")
        assert not copied(place, tmp_path / f"copy of {place.name}")
        assert not (tmp_path / f"copy of {place.name}/.git").exists()


def test_another_ones_repository_is_not_brought(project: Path, tmp_path: Path) -> None:
    thief = tmp_path / "thief"
    (thief / ".git/worktrees/x").mkdir(parents=True)
    (thief / ".git/worktrees/x/gitdir").write_text(f"{project}/trees/inner/.git\n")
    assert inner_work_trees(thief) == []
    other = tmp_path / "other"
    other.mkdir()
    (other / ".git").write_text(f"gitdir: {project}/.git/worktrees/inner\n")
    assert "does not know it" in work_trees.why_not(other)
    assert not work_trees.wanted(other)
    assert not copied(other, tmp_path / "copy")


def test_what_does_not_hold_all_of_its_objects_stays_and_says_why(project: Path, tmp_path: Path) -> None:
    (project / ".git/objects/info/alternates").write_text("/elsewhere\n")
    assert work_trees.why_not(tmp_path / "linked") == ".git/objects/info/alternates"
    assert not copied(tmp_path / "linked", tmp_path / "copy")
    assert (tmp_path / "copy/.git").is_file()
