"""Changes in a tree, seen without following it anywhere."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from claude_bottle.workflow import tree_scan
from claude_bottle.workflow.tree_scan import CHANGED, GONE, NEW, Seen, TreeScan


@pytest.fixture
def scan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> TreeScan:
    """One that never pauses, after its first look."""
    monkeypatch.setattr(tree_scan, "_LEAST_PAUSE", 0.0)
    monkeypatch.setattr(tree_scan, "_SHARE", 0.0)
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / "old").write_text("1")
    scan = TreeScan(tmp_path / "tree")
    assert scan.changes() == []
    return scan


def test_new_changed_and_gone_files_are_told(scan: TreeScan, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    (tree / "src").mkdir()
    (tree / "src" / "new.py").write_text("12345")
    (tree / "old").write_text("22")
    assert sorted(scan.changes()) == [Seen(CHANGED, "old", 2), Seen(NEW, "src/new.py", 5)]
    (tree / "old").unlink()
    assert scan.changes() == [Seen(GONE, "old", 0)]
    assert scan.changes() == []


def test_no_link_is_followed(scan: TreeScan, tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "secret").write_text("x")
    (tmp_path / "tree" / "link").symlink_to(tmp_path / "outside")
    assert [seen.name for seen in scan.changes()] == ["link"]


def test_a_directory_that_becomes_a_link_is_not_entered(scan: TreeScan, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    (tree / "sub").mkdir()
    (tree / "sub" / "a").write_text("1")
    scan.changes()
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "b").write_text("x")
    (tree / "sub" / "a").unlink()
    (tree / "sub").rmdir()
    (tree / "sub").symlink_to(tmp_path / "outside")
    assert {seen.name for seen in scan.changes()} == {"sub", "sub/a"}


def test_a_tree_that_is_a_link_has_no_files(tmp_path: Path, scan: TreeScan) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "tree")
    linked = TreeScan(tmp_path / "link")
    linked.changes()
    (tmp_path / "tree" / "new").write_text("1")
    assert linked.changes() == []


def test_more_files_than_are_looked_at_cost_no_more(
    scan: TreeScan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tree_scan, "MAX_ENTRIES", 5)
    for index in range(50):
        (tmp_path / "tree" / f"f{index}").write_text("1")
    told = scan.changes()
    assert scan.partial and not [seen for seen in told if seen.how in (NEW, GONE)]


def test_depth_is_bounded(scan: TreeScan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tree_scan, "MAX_DEPTH", 3)
    os.makedirs(tmp_path / "tree" / "a" / "b" / "c" / "d" / "e")
    scan.changes()
    assert scan.partial


def test_what_tools_make_is_passed_over(scan: TreeScan, tmp_path: Path) -> None:
    (tmp_path / "tree" / ".git" / "objects").mkdir(parents=True)
    (tmp_path / "tree" / ".git" / "objects" / "x").write_text("1")
    assert scan.changes() == []


def test_a_look_pauses_before_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tree_scan, "_LEAST_PAUSE", 3600.0)
    scan = TreeScan(tmp_path)
    scan.changes()
    (tmp_path / "new").write_text("1")
    assert scan.changes() == []


def test_a_look_that_the_machine_held_up_is_not_paid_for_with_a_long_pause(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each directory's entries come late, as on a machine with too much to do; that took none of its time."""
    scandir = os.scandir

    def late(*where: int) -> object:
        time.sleep(0.2)
        return scandir(*where)

    monkeypatch.setattr(os, "scandir", late)
    scan = TreeScan(tmp_path)
    scan.changes()
    assert scan.pause == tree_scan._LEAST_PAUSE
