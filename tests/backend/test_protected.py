"""What of a live workspace is found to be guarded, and that only what was looked at is covered."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from claude_bottle.backend import childhood, protected
from claude_bottle.backend import namespaces as ns
from claude_bottle.backend.protected import LINK, PINNED, READ_ONLY, Guard, find, survey
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


def test_a_link_that_leads_out_is_pinned_and_not_followed(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    make(outside, ".vscode/x", ".git/config")
    place = tmp_path / "place"
    make(place, "x")
    (place / ".vscode").symlink_to(outside / ".vscode")
    (place / ".git").symlink_to("../outside/.git")
    (place / "in").symlink_to(outside)
    assert find(place) == (Guard(".git", LINK), Guard(".vscode", LINK))


def test_what_a_link_leads_to_is_guarded_and_every_link_on_the_way_pinned(tmp_path: Path) -> None:
    make(tmp_path, "a/deep/vscode/x", "repository/HEAD", "repository/config")
    (tmp_path / "b").symlink_to("a/deep")
    (tmp_path / ".vscode").symlink_to("./b/../deep/vscode")
    (tmp_path / ".git").symlink_to(tmp_path / "repository")
    assert {guard.path: guard.kind for guard in find(tmp_path)} == {
        ".git": LINK, ".vscode": LINK, "a": PINNED, "a/deep": PINNED, "a/deep/vscode": READ_ONLY, "b": LINK,
        "repository": PINNED, "repository/config": READ_ONLY,
    }  # fmt: skip


@pytest.mark.parametrize("leads", ["nothing", ".envrc", "."])
def test_a_link_to_what_cannot_be_held_is_refused(tmp_path: Path, leads: str) -> None:
    (tmp_path / ".envrc").symlink_to(leads)
    with pytest.raises(BottleError, match=r"cannot protect \.envrc"):
        find(tmp_path)


def test_what_git_would_obey_and_is_not_there_is_to_be_held(tmp_path: Path) -> None:
    make(tmp_path, ".git/HEAD", ".git/worktrees/w/HEAD", ".git/worktrees/w/commondir", ".git/modules/m/HEAD", "sub/file")
    make(tmp_path, "bare/HEAD", "bare/objects/", "bare/refs/", "bare/config")
    (tmp_path / ".git/config").write_text("[core]\nhooksPath=sub/hooks\n[include]\npath=../more\n[alias]\nx=!sub/file y\n")
    found = survey(tmp_path)
    assert found.held == {".git/config", ".git/worktrees/w/commondir", "bare/config", "sub/file"}
    assert found.missing == {
        ".git/hooks": None, ".git/commondir": b".\n", ".git/config.worktree": b"", "sub/hooks": None, "more": b"",
        ".git/worktrees/w/config.worktree": b"", ".git/modules/m/hooks": None, ".git/modules/m/config": b"",
        ".git/modules/m/commondir": b".\n", ".git/modules/m/config.worktree": b"",
    }  # fmt: skip


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


def test_what_settings_name_at_home_or_where_git_lies_is_looked_for_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a directory called `~` would hold its place in the project."""
    monkeypatch.setenv("HOME", str(tmp_path))
    make(tmp_path, ".gitconfig", "place/.git/HEAD", "place/diff")
    (tmp_path / "place/.git/config").write_text(
        "[core]\n\thooksPath = ~/hooks\n[include]\n\tpath = ~/.gitconfig\n\tpath = ~/place/own\n"
        '\tpath = %(prefix)/etc/x\n[diff "x"]\n\ttextconv = ~/place/diff\n'
    )
    found = survey(tmp_path / "place")
    assert set(found.missing) == {".git/hooks", ".git/config.worktree", ".git/commondir", "own"}
    assert "diff" in found.held
