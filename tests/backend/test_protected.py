"""What of a live workspace is found to be guarded, and that only what was looked at is covered."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from claude_bottle.backend import childhood, protected
from claude_bottle.backend import namespaces as ns
from claude_bottle.backend.protected import PINNED, READ_ONLY, Guard, find
from claude_bottle.errors import BottleError, Refused


def make(place: Path, *paths: str) -> None:
    for path in paths:
        (place / path).parent.mkdir(parents=True, exist_ok=True)
        if path.endswith("/"):
            (place / path).mkdir(exist_ok=True)
        else:
            (place / path).touch()


def test_guards_are_found_at_any_depth_and_what_leads_there_is_pinned(tmp_path: Path) -> None:
    make(tmp_path, "a/b/.vscode/x", "a/.git/config", "a/.git/hooks/", ".mcp.json", "src/main.py", "w/.git")
    make(tmp_path, "c/.github/workflows/x")
    found = {guard.path: guard.kind for guard in find(tmp_path)}
    assert found == {
        ".mcp.json": READ_ONLY, "a": PINNED, "a/.git": PINNED, "a/.git/config": READ_ONLY, "a/.git/hooks": READ_ONLY,
        "a/b": PINNED, "a/b/.vscode": READ_ONLY, "c": PINNED, "c/.github": PINNED, "c/.github/workflows": READ_ONLY,
        "w": PINNED, "w/.git": READ_ONLY,
    }  # fmt: skip


def test_repositories_of_submodules_and_worktrees_are_guarded_too(tmp_path: Path) -> None:
    for one in (".git", ".git/modules/lib", ".git/modules/group/deep", ".git/modules/lib/modules/inner"):
        make(tmp_path, f"{one}/HEAD", f"{one}/config")
    make(tmp_path, ".git/worktrees/w/HEAD", ".git/worktrees/w/commondir", ".git/worktrees/w/gitdir")
    found = {guard.path for guard in find(tmp_path) if guard.kind == READ_ONLY}
    assert found == {
        ".git/config", ".git/modules/lib/config", ".git/modules/group/deep/config", ".git/modules/lib/modules/inner/config",
        ".git/worktrees/w/commondir", ".git/worktrees/w/gitdir",
    }  # fmt: skip


def test_what_is_a_link_is_neither_guarded_nor_followed(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    make(outside, ".vscode/x", ".git/config")
    place = tmp_path / "place"
    make(place, "x")
    (place / ".vscode").symlink_to(outside / ".vscode")
    (place / ".git").symlink_to(outside / ".git")
    (place / "in").symlink_to(outside)
    assert find(place) == ()


def test_of_installed_packages_only_repositories_are_guarded(tmp_path: Path) -> None:
    make(tmp_path, "node_modules/a/.travis.yml", "node_modules/a/.vscode/x", "node_modules/a/.github/workflows/x")
    make(tmp_path, "node_modules/b/.git/config", "node_modules/b/.git/HEAD")
    assert [guard.path for guard in find(tmp_path) if guard.kind == READ_ONLY] == ["node_modules/b/.git/config"]


def test_more_than_can_be_guarded_is_refused_with_a_way_out(tmp_path: Path) -> None:
    make(tmp_path, *(f"{number}/.envrc" for number in range(protected.MOST + 1)))
    with pytest.raises(BottleError) as refused:
        find(tmp_path)
    assert "overlay" in refused.value.do


@pytest.mark.skipif(os.geteuid() != 0, reason="cannot run here: mounting takes root")
@pytest.mark.parametrize("what", ["a link in its place", "a link above it", "gone"])
def test_case_4_what_was_replaced_since_it_was_found_is_refused(tmp_path: Path, what: str) -> None:
    make(tmp_path, "d/.vscode/x", "outside/.vscode/secret")
    guards = (*find(tmp_path / "d"), Guard("sub/.envrc", READ_ONLY))
    make(tmp_path, "d/sub/.envrc")
    if what == "a link in its place":
        (tmp_path / "d/.vscode").rename(tmp_path / "moved")
        (tmp_path / "d/.vscode").symlink_to(tmp_path / "outside/.vscode")
    elif what == "a link above it":
        (tmp_path / "d/sub").rename(tmp_path / "moved")
        (tmp_path / "d/sub").symlink_to(tmp_path / "outside")
    else:
        (tmp_path / "d/sub/.envrc").unlink()

    def work() -> None:
        ns.unshare(ns.CLONE_NEWNS)
        ns.mount("", "/", "", ns.MS_REC | ns.MS_SLAVE)
        protected.hold(os.open(tmp_path / "d", os.O_PATH | os.O_DIRECTORY), guards, lambda _: -1)

    with pytest.raises(Refused, match="cannot protect"):
        childhood.in_child(work)
