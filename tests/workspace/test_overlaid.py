"""The work in a layer over the operator's directory, written here as the kernel writes it."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from claude_bottle.state import layers
from claude_bottle.state.layers import Layers
from claude_bottle.workspace.apply import MARK, apply
from claude_bottle.workspace.directory import Directory, content
from claude_bottle.workspace.landing import Landing
from claude_bottle.workspace.overlaid import OverlaidWork
from claude_bottle.workspace.quarantine import quarantine
from claude_bottle.workspace.refs import Handed, read
from tests.workspace.conftest import EVERY_TRIGGER, Yard, git, plant, repository, snapshot

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a whiteout outside of an overlay")


@pytest.fixture
def begun(yard: Yard) -> Layers:
    """A layer over a small project, whose files are older than it."""
    repository(yard.host, {"a": "a\n", "gone": "g\n", "dir/one": "1", "dir/two": "2", "kept": "k\n"})
    newest = max(path.lstat().st_ctime_ns for path in yard.host.rglob("*"))
    while True:  # until the clock of files has moved on: its tick is some milliseconds
        made = layers.begin_at(yard.place / "layers", yard.host)
        if made.since > newest:
            return made
        shutil.rmtree(made.directory)


def opened(yard: Yard, begun: Layers) -> OverlaidWork:
    with Directory(yard.host) as host:
        refs = read(host)
    return OverlaidWork(begun, Handed(refs, refs))


def remove(place: Path) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    os.mknod(place, 0o020000, 0)


def replace_directory(place: Path, content: dict[str, str | bytes]) -> None:
    place.mkdir()
    os.setxattr(place, "user.overlay.opaque", b"y")
    plant(place, content)


def carry(yard: Yard, begun: Layers) -> dict[str, str]:
    work = opened(yard, begun)
    with quarantine() as place, Directory(yard.host) as host:
        steps = Landing(work, host, place).steps(work.changes())
        said = {outcome.path: outcome.done for outcome in apply(work, host, steps, allowed=EVERY_TRIGGER)}
    work.close()
    return said


def test_what_the_layer_names_goes_over_and_twice_is_once(yard: Yard, begun: Layers) -> None:
    plant(begun.upper, {"a": "changed\n", "new/file": "n", "kept": "k\n"})
    remove(begun.upper / "gone")
    replace_directory(begun.upper / "dir", {"one": "other", "three": "3"})
    plant(begun.upper, {".git/hooks/pre-commit": "evil", ".git/config": "evil"})
    work = opened(yard, begun)
    assert [change.path for change in work.changes()] == ["a", "dir/one", "dir/three", "dir/two", "gone", "new", "new/file"]
    assert content(work.whole, "kept", 10) == b"k\n"
    assert work.before("a") == b"a\n"
    work.close()
    assert set(carry(yard, begun).values()) == {"applied"}
    files = {path: entry[-1] for path, entry in snapshot(yard.host).items() if entry[0] == "file" and ".git" not in path}
    assert files == {"a": b"changed\n", "kept": b"k\n", "new/file": b"n", "dir/one": b"other", "dir/three": b"3"}
    assert not (yard.host / ".git/hooks/pre-commit").exists()
    assert carry(yard, begun) == {}


def test_a_file_that_the_host_changed_meanwhile_is_a_conflict_and_what_the_bottle_saw_of_it_told(
    yard: Yard, begun: Layers
) -> None:
    plant(begun.upper, {"a": "bottle\n", "made": "bottle\n"})
    plant(yard.host, {"a": "host\n", "made": "host\n", "kept": "host\n", "new": "host\n"})
    work = opened(yard, begun)
    assert {"a", "made", "kept", "new"} <= set(work.host_edits())
    assert work.before("a") is None
    work.close()
    assert carry(yard, begun) == {"a": "conflict", "made": "conflict"}
    assert (yard.host / "a").read_text() == "host\n"


def test_over_what_was_committed_a_conflict_is_merged_where_the_operator_says_so(yard: Yard) -> None:
    lines = [f"{number}\n" for number in range(9)]
    repository(yard.host, {"text": "".join(lines), "both": "x\n"})
    begun = layers.begin_at(yard.place / "layers", yard.host)
    work = opened(yard, begun)  # it knows what was checked out then
    plant(begun.upper, {"text": "".join([*lines[:8], "bottle\n"]), "both": "bottle\n"})
    plant(yard.host, {"text": "".join(["host\n", *lines[1:]]), "both": "host\n"})
    with quarantine() as place, Directory(yard.host) as host:
        steps = Landing(work, host, place).steps(work.changes())
        assert [(step.action, step.why.rpartition("; ")[2]) for step in steps] == [
            ("conflict", "merged over what was committed it is in conflict in 1 place"),
            ("conflict", "merged over what was committed it is without a conflict"),
        ]
        assert {one.done for one in apply(work, host, steps, allowed=EVERY_TRIGGER)} == {"conflict"}
        assert (yard.host / "text").read_text().endswith("8\n")
        done = apply(work, host, steps, allowed=EVERY_TRIGGER, on_conflict=MARK)
        assert [one.done for one in done] == ["marked", "merged"]
    work.close()
    assert (yard.host / "text").read_text() == "".join(["host\n", *lines[1:8], "bottle\n"])
    assert "<<<<<<< host" in (yard.host / "both").read_text()


def test_what_a_bottle_took_back_to_what_was_committed_is_not_called_done(yard: Yard) -> None:
    repository(yard.host, {"a": "x\n"})
    (yard.host / "a").write_text("not committed\n")
    begun = layers.begin_at(yard.place / "layers", yard.host)
    work = opened(yard, begun)
    plant(begun.upper, {"a": "x\n"})
    (yard.host / "a").write_text("not committed\nmore\n")
    with quarantine() as place, Directory(yard.host) as host:
        assert [step.action for step in Landing(work, host, place).steps(work.changes())] == ["conflict"]
    work.close()


def test_commits_in_the_layer_are_counted_over_those_of_the_host(yard: Yard, begun: Layers) -> None:
    tip = git(yard.host, "commit-tree", "-m", "x", "-p", "HEAD", "HEAD^{tree}")
    work = opened(yard, begun)
    assert read(work.whole).moved(work.refs) == ()
    plant(begun.upper, {".git/refs/heads/main": f"{tip}\n"})
    assert read(work.whole).moved(work.refs) == ("refs/heads/main",)
    work.close()


def test_links_of_the_layer_are_never_followed(yard: Yard, begun: Layers) -> None:
    (begun.upper / "link").symlink_to(yard.outside)
    (begun.upper / "dir").symlink_to(yard.outside)
    work = opened(yard, begun)
    assert work.result.entry("dir/canary") is None
    assert work.result.names("link") == []
    for path in ("link/canary", "dir/canary", "../outside/canary", "link"):
        with pytest.raises(OSError):  # noqa: PT011
            os.close(work.result.open(path))
    work.close()
    carry(yard, begun)
    assert yard.untouched_outside()
