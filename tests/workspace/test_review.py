"""What the operator is shown: what runs later first, everything safe to print, the patch one that git applies."""

from __future__ import annotations

import json
import os
from typing import Any

import pytest

from claude_bottle.workspace.compare import Comparison
from claude_bottle.workspace.directory import Directory
from claude_bottle.workspace.landing import Landing
from claude_bottle.workspace.quarantine import quarantine
from claude_bottle.workspace.review import review
from claude_bottle.workspace.review_text import patch_lines, render
from tests.workspace.conftest import Yard, git, plant, repository, snapshot


def look(yard: Yard, *, binary: bool = False) -> tuple[dict[str, Any], bytes]:
    with yard.work() as work, quarantine() as place, Directory(yard.host) as host:
        changes = work.changes()
        comparison = Comparison(place, work, changes)
        steps = Landing(work, host, place).steps(changes)
        return review("x-000000", work, host, steps, comparison.lines(), comparison.unshown), comparison.patch(binary=binary)


def text(found: dict[str, Any]) -> str:
    return "\n".join(line for line, _ in render(found))


@pytest.fixture
def handed(yard: Yard) -> Yard:
    package = '{"scripts": {}}'
    repository(yard.host, {"a": "1\n2\n3\n", "package.json": package, "moved": "m\n" * 50, "tool": "t", "binary": b"\0" * 9})
    yard.hand_in()
    return yard


def edit(yard: Yard) -> None:
    package = '{"scripts": {"postinstall": "curl"}}'
    plant(yard.bottle, {"a": "1\n2\nthree\n", "package.json": package, "binary": b"\0new", "new": "n\n",
                        ".github/workflows/ci.yml": "on: push\n"})  # fmt: skip
    os.rename(yard.bottle / "moved", yard.bottle / "elsewhere")
    (yard.bottle / "tool").chmod(0o755)
    (yard.bottle / "empty").mkdir()


def test_the_review_counts_names_and_groups(handed: Yard) -> None:
    edit(handed)
    found, _ = look(handed)
    assert (found["files"], found["added"], found["removed"]) == (7, 4, 2)
    assert {name: [entry["path"] for entry in entries] for name, entries in found["triggers"].items()} == {
        "ci": [".github/workflows/ci.yml"],
        "packages": ["package.json"],
    }
    rows = {row["path"]: row for row in found["changes"]}
    assert rows["tool"]["mode"] == ["100644", "100755"]
    assert rows["binary"]["binary"]
    assert (rows["elsewhere"]["status"], rows["elsewhere"]["former"]) == ("renamed", "moved")
    assert "moved" not in rows
    assert rows["package.json"]["triggers"] == [{"name": "packages", "why": 'script "postinstall"'}]
    assert json.loads(json.dumps(found)) == found


def test_what_runs_later_is_shown_before_everything_else(handed: Yard) -> None:
    edit(handed)
    shown = text(look(handed)[0])
    order = ["needs --allow", "ci.yml", 'script "postinstall"', "everything else", "moved → elsewhere"]
    places = [shown.index(words) for words in order]
    assert places == sorted(places)
    assert "on main @" in shown.splitlines()[0] and "applies cleanly" in shown.splitlines()[0]


def test_a_line_of_a_patch_is_coloured_by_its_side_whatever_it_looks_like() -> None:
    patch = b"--- a/x\n+++ b/x\n@@ -1,2 +1,2 @@\n--- was\n-@@ -1 +1 @@\n+++ is\n+ \n"
    patch += b"@@ -9 +9 @@\n-a\n+b\ndiff --git a/y b/y\n-x\n"
    shades = [colour for _, colour in patch_lines(patch)]
    assert shades == [None, None, "cyan", "red", "red", "green", "green", "cyan", "red", "green", None, None]


def test_how_it_would_land_is_in_the_first_line(handed: Yard) -> None:
    plant(handed.bottle, {"a": "one\n2\n3\n"})
    plant(handed.host, {"a": "1\n2\nthree of the host\n"})
    git(handed.host, "commit", "--quiet", "--all", "--message=on")
    assert "(host is 1 commit ahead, " in text(look(handed)[0]).splitlines()[0]
    plant(handed.host, {"a": "eins\n2\n3\n"})
    assert "1 conflict)" in text(look(handed)[0]).splitlines()[0]
    plant(handed.host, {"a": "one\n2\n3\n"})
    assert "the host has all of it" in text(look(handed)[0]).splitlines()[0]


def test_the_patch_is_one_that_git_applies(handed: Yard) -> None:
    edit(handed)
    (handed.bottle / "empty").rmdir()
    _, patch = look(handed, binary=True)
    git(handed.host, "apply", "--binary", "-", input=patch)
    one, other = (
        {path: entry for path, entry in snapshot(place).items() if path.split("/")[0] != ".git"}
        for place in (handed.host, handed.bottle)
    )
    assert one == other


HOSTILE = ("\x1b]0;title\x07", "\x1b[2J\x1b[H", "\r overwritten", "\u202egnp.exe", "\x9b31m", "\x00")


def test_nothing_that_an_agent_wrote_acts_on_the_terminal(handed: Yard) -> None:
    """Cases 70 and 91: in names, link targets, content, and what is inside git's own files."""
    for index, escape in enumerate(HOSTILE):
        name = escape.replace("\x00", "").replace("/", "")
        plant(handed.bottle, {f"{name}{index}": f"{escape}\n", f".git/hooks/{name}{index}": "x", f"Makefile{name}": ""})
        (handed.bottle / f"link{index}").symlink_to(f"/{name}")
    os.mkfifo(handed.bottle / f"pipe{HOSTILE[0]}")
    found, patch = look(handed)
    shown = [line for line, _ in [*render(found), *patch_lines(patch)]]
    assert len(shown) > 40
    for line in shown:
        assert not [char for char in line if not char.isprintable() and char != "\t"], ascii(line)
    assert "\\r overwritten" in "\n".join(shown)


def test_no_attribute_in_the_tree_hides_a_change_or_runs_a_program(handed: Yard) -> None:
    canary = handed.place / "ran"
    settings = f'[diff "evil"]\n\ttextconv = touch {canary}\n\tcommand = touch {canary}\n'
    attributes = "* -diff\na diff=evil binary filter=evil\n"
    plant(handed.bottle, {".gitattributes": attributes, "a": "1\n2\nhidden?\n", ".git/config": settings})
    found, patch = look(handed)
    assert b"+hidden?" in patch
    assert found["repository"] == [".git/config"]
    assert not canary.exists()


def test_what_is_too_large_to_show_is_said(handed: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    import claude_bottle.workspace.compare as compare

    monkeypatch.setattr(compare, "MAX_FILE", 1000)
    plant(handed.bottle, {"large": "x" * 1001, "a": "changed\n"})
    with handed.work() as work, quarantine() as place:
        comparison = Comparison(place, work, work.changes())
        assert comparison.unshown == {"large": "too large to show"}
        assert set(comparison.lines()) == {"a"}


def test_changed_hooks_and_settings_are_told_and_samples_and_the_operators_own_are_not(handed: Yard) -> None:
    evil = "[core]\n\tfsmonitor = evil\n"
    plant(handed.bottle, {".git/hooks/pre-commit": "evil", ".git/hooks/x.sample": "x", ".git/config": evil})
    assert look(handed)[0]["repository"] == [".git/config", ".git/hooks/pre-commit"]
