"""Unexported work: judged by what it is. What was applied, exported or pulled is no longer unexported; what came after is."""

from __future__ import annotations

import os

from claude_bottle.workspace import taken
from claude_bottle.workspace.captured import CapturedWork
from claude_bottle.workspace.refs import read
from tests.workspace.conftest import Yard, git, plant, repository


def left(yard: Yard, got: frozenset[str] = frozenset()) -> tuple[list[str], list[str]]:
    with yard.work() as work:
        found = taken.left(work, got)
        return [change.path for change in found.changes], list(found.refs)


def digests(yard: Yard, *paths: str) -> frozenset[str]:
    with yard.work() as work:
        return frozenset(taken.digest(work, change) for change in work.changes() if change.path in paths)


def test_what_the_host_has_is_not_left_however_it_got_there(yard: Yard) -> None:
    plant(yard.host, {"a": "a", "b": "b"})
    yard.hand_in()
    assert left(yard) == ([], [])
    plant(yard.bottle, {"a": "new", "c": "c"})
    (yard.bottle / "b").unlink()
    assert left(yard) == (["a", "b", "c"], [])
    plant(yard.host, {"a": "new"})
    (yard.host / "b").unlink()
    assert left(yard) == (["c"], [])
    plant(yard.host, {"c": "other"})
    assert left(yard) == (["c"], [])


def test_what_was_taken_counts_for_that_content_alone_whatever_its_time(yard: Yard) -> None:
    yard.hand_in()
    plant(yard.bottle, {"a": "a", "b": "b"})
    got = digests(yard, "a")
    assert left(yard, got) == (["b"], [])
    os.utime(yard.bottle / "a", (1, 1))
    assert left(yard, got) == (["b"], [])
    plant(yard.bottle, {"a": "A"})
    assert left(yard, got) == (["a", "b"], [])
    plant(yard.bottle, {"a": "a"})
    (yard.bottle / "a").chmod(0o755)
    assert left(yard, got) == (["a", "b"], [])


def test_commits_are_left_until_they_were_taken_and_new_ones_again(yard: Yard) -> None:
    repository(yard.host, {"a": "a"})
    yard.hand_in()
    plant(yard.bottle, {"a": "b"})
    git(yard.bottle, "commit", "--quiet", "--all", "--message=x")
    plant(yard.host, {"a": "b"})
    assert left(yard) == ([], ["refs/heads/main"])
    with yard.work() as work:
        got = frozenset({taken.ref_digest("refs/heads/main", read(work.whole))})
    assert left(yard, got) == ([], [])
    git(yard.bottle, "commit", "--quiet", "--allow-empty", "--message=y")
    assert left(yard, got) == ([], ["refs/heads/main"])


def test_what_no_commit_has_is_not_taken_by_pulling_it(yard: Yard) -> None:
    repository(yard.host, {"a": "a", "gone": "g", "late": "l"})
    yard.hand_in()
    plant(yard.bottle, {"a": "committed", "new/f": "f"})
    (yard.bottle / "link").symlink_to("a")
    (yard.bottle / "gone").unlink()
    git(yard.bottle, "add", "--all")
    git(yard.bottle, "commit", "--quiet", "--message=x")
    plant(yard.bottle, {"new/f": "changed after it", "untracked": "u"})
    (yard.bottle / "late").unlink()
    blobs = {}
    for line in git(yard.bottle, "ls-tree", "-r", "HEAD").splitlines():
        about, _, path = line.partition("\t")
        blobs[path] = about.split()[2]
    with yard.work() as work:
        inside = {change.path for change in work.changes() if taken.in_commit(work, change, blobs)}
    assert inside == {"a", "gone", "link", "new"}


def test_a_running_bottles_changes_are_those_of_one_moment(yard: Yard) -> None:
    plant(yard.host, {"a": "a"})
    yard.hand_in()
    plant(yard.bottle, {"a": "shown", "tool": "t"})
    (yard.bottle / "tool").chmod(0o4755)
    (yard.bottle / "link").symlink_to("/etc/passwd")
    os.mkfifo(yard.bottle / "pipe")
    with yard.work() as work:
        captured = CapturedWork(work, yard.place / "captured")
        plant(yard.bottle, {"a": "swapped", "more": "m"})
        (yard.bottle / "link").unlink()
        changes = {change.path: change.after for change in captured.changes()}
        assert sorted(changes) == ["a", "link", "pipe", "tool"]
        assert changes["tool"] is not None and changes["tool"].mode & 0o4000
        assert changes["link"] is not None and changes["link"].link == "/etc/passwd"
        with open(captured.result.open("a")) as file:
            assert file.read() == "shown"
        captured.close()
