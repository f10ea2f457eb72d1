"""Carrying changes into the operator's tree: what is taken, merged, in conflict, refused; and that nothing else changes."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from claude_bottle.workspace import apply as applying
from claude_bottle.workspace.apply import Outcome
from claude_bottle.workspace.landing import included
from claude_bottle.workspace.work import Change
from tests.workspace.conftest import Yard, plant, snapshot

LINES = "".join(f"line {number}\n" for number in range(20))


@pytest.fixture
def handed(yard: Yard) -> Yard:
    plant(yard.host, {"text": LINES, "gone": "x", "kept": "kept\n", "dir/inner": "i", "binary": b"\0" * 100, "run": "r"})
    (yard.host / "run").chmod(0o755)
    (yard.host / "link").symlink_to("text")
    yard.hand_in()
    return yard


def edit(place: Path) -> None:
    """Some of everything."""
    plant(place, {"text": LINES.replace("line 3", "LINE 3"), "new/deep/file": "new\n"})
    (place / "gone").unlink()
    (place / "run").chmod(0o644)
    (place / "link").unlink()
    (place / "link").symlink_to("kept")
    (place / "dir/inner").unlink()
    (place / "dir").rmdir()
    (place / "dir").write_text("now a file\n")
    (place / "empty").mkdir()


def test_everything_that_changed_goes_over_and_twice_is_once(handed: Yard) -> None:
    edit(handed.bottle)
    wanted = snapshot(handed.bottle)
    assert {outcome.done for outcome in handed.apply().values()} == {"applied"}
    assert snapshot(handed.host) == wanted
    times = {path: os.lstat(handed.host / path).st_mtime_ns for path in wanted}
    assert {outcome.done for outcome in handed.apply().values()} == {"same"}
    assert snapshot(handed.host) == wanted
    assert {path: os.lstat(handed.host / path).st_mtime_ns for path in wanted} == times


def test_a_dry_run_says_the_same_and_writes_nothing(handed: Yard) -> None:
    edit(handed.bottle)
    before = snapshot(handed.host)
    said = handed.apply(dry_run=True)
    assert snapshot(handed.host) == before
    assert said == handed.apply()


def test_changes_of_both_sides_are_merged(handed: Yard) -> None:
    plant(handed.bottle, {"text": LINES.replace("line 3", "bottle 3")})
    plant(handed.host, {"text": LINES.replace("line 15", "host 15"), "kept": "host\n"})
    (handed.host / "text").chmod(0o600)
    assert handed.apply() == {"text": Outcome("text", "merged")}
    assert (handed.host / "text").read_text() == LINES.replace("line 3", "bottle 3").replace("line 15", "host 15")
    assert (handed.host / "kept").read_text() == "host\n"
    assert stat.S_IMODE((handed.host / "text").stat().st_mode) == 0o600
    assert handed.apply() == {"text": Outcome("text", "same")}


CONFLICTS = {
    "same lines": ("text", LINES.replace("line 3", "bottle"), LINES.replace("line 3", "host")),
    "binary": ("binary", "\0bottle", "\0host"),
    "made on both sides": ("made", "bottle", "host"),
}


@pytest.mark.parametrize("kind", CONFLICTS)
def test_a_conflict_is_said_and_leaves_the_operators_file_untouched(handed: Yard, kind: str) -> None:
    name, theirs, ours = CONFLICTS[kind]
    plant(handed.bottle, {name: theirs, "fine": "fine"})
    plant(handed.host, {name: ours})
    said = handed.apply()
    assert (said[name].done, said["fine"].done) == ("conflict", "applied")
    assert "host" in said[name].why
    assert (handed.host / name).read_text() == ours


def test_conflicts_are_marked_or_replaced_only_when_asked(handed: Yard) -> None:
    plant(handed.bottle, {"text": LINES.replace("line 3", "bottle")})
    plant(handed.host, {"text": LINES.replace("line 3", "host")})
    assert handed.apply(on_conflict=applying.MARK)["text"].done == "marked"
    marked = (handed.host / "text").read_text()
    assert "<<<<<<< host\nhost\n" in marked and "bottle\n>>>>>>> bottle\n" in marked
    assert handed.apply(on_conflict=applying.REPLACE)["text"].done == "applied"
    assert (handed.host / "text").read_bytes() == (handed.bottle / "text").read_bytes()


def test_what_the_host_removed_or_the_bottle_removed_under_a_changed_file_is_a_conflict(handed: Yard) -> None:
    plant(handed.bottle, {"text": "bottle\n"})
    (handed.bottle / "gone").unlink()
    (handed.host / "text").unlink()
    plant(handed.host, {"gone": "changed since\n"})
    said = handed.apply()
    assert {path: outcome.done for path, outcome in said.items()} == {"gone": "conflict", "text": "conflict"}
    assert not (handed.host / "text").exists()
    assert (handed.host / "gone").read_text() == "changed since\n"


def test_a_directory_that_the_host_has_more_in_stays(handed: Yard) -> None:
    plant(handed.host, {"dir/of the host": "h"})
    (handed.bottle / "dir/inner").unlink()
    (handed.bottle / "dir").rmdir()
    said = handed.apply()
    assert said["dir/inner"].done == "applied"
    assert said["dir"].done == "conflict"
    assert snapshot(handed.host / "dir") == {"of the host": ("file", False, b"h")}


def test_a_link_on_the_host_is_never_written_through(handed: Yard) -> None:
    """Case 92: neither a directory's place nor a file's leads out, whether the operator or the bottle made the link."""
    plant(handed.bottle, {"sub/canary": "overwritten", "canary": "overwritten", "there/canary": "overwritten"})
    (handed.host / "sub").symlink_to(handed.outside)
    (handed.host / "canary").symlink_to(handed.outside / "canary")
    (handed.host / "there").symlink_to(handed.outside)
    assert handed.apply(dry_run=True)["sub/canary"] == Outcome("sub/canary", "conflict", "sub is a link on the host")
    for choice in (applying.KEEP, applying.MARK):
        said = handed.apply(on_conflict=choice)
        assert {said[path].done for path in ("sub", "sub/canary", "there", "there/canary", "canary")} == {"conflict"}
        assert handed.untouched_outside()
    handed.apply(on_conflict=applying.REPLACE)  # the links themselves, for that was asked
    assert snapshot(handed.host / "sub") == {"canary": ("file", False, b"overwritten")}
    assert not (handed.host / "canary").is_symlink()
    assert handed.untouched_outside()


def test_a_link_that_the_bottle_put_in_a_directorys_place_is_not_written_through(handed: Yard) -> None:
    (handed.bottle / "dir/inner").unlink()
    (handed.bottle / "dir").rmdir()
    (handed.bottle / "dir").symlink_to(handed.outside)
    said = handed.apply(allowed=frozenset())
    assert said["dir"] == Outcome("dir", "refused", "links")
    assert (handed.host / "dir/inner").exists() is False
    said = handed.apply()
    assert said["dir"].done == "applied"
    assert os.readlink(handed.host / "dir") == str(handed.outside)
    assert handed.untouched_outside()


def test_what_is_swapped_on_the_host_between_judging_and_writing_is_a_conflict(handed: Yard) -> None:
    from claude_bottle.workspace.directory import Directory

    plant(handed.bottle, {"text": "bottle\n", "dir/inner": "bottle", "new": "bottle"})
    steps = handed.steps()
    plant(handed.host, {"text": "saved just now\n", "new": "made just now\n"})
    (handed.host / "dir/inner").unlink()
    (handed.host / "dir").rmdir()
    (handed.host / "dir").symlink_to(handed.outside)
    with handed.work() as work, Directory(handed.host) as host:
        said = applying.apply(work, host, steps, allowed=frozenset())
    assert {outcome.done for outcome in said} == {"conflict"}
    assert (handed.host / "text").read_text() == "saved just now\n"
    assert (handed.host / "new").read_text() == "made just now\n"
    assert handed.untouched_outside()


def test_set_id_bits_and_the_agents_modes_stay_behind(handed: Yard) -> None:
    """Case 98."""
    for name in ("text", "tool"):
        plant(handed.bottle, {name: "#!/bin/sh\n"})
        (handed.bottle / name).chmod(0o6777)
    said = handed.apply(allowed=frozenset())
    assert {outcome.why for outcome in said.values()} == {"setuid"}
    handed.apply()
    for name in ("text", "tool"):
        mode = stat.S_IMODE((handed.host / name).stat().st_mode)
        assert mode & 0o100 and not mode & 0o6022, oct(mode)


def test_neither_pipe_nor_device_nor_endless_file_goes_over_or_holds_anything_up(handed: Yard) -> None:
    """Case 95."""
    os.mkfifo(handed.bottle / "pipe")
    os.mkfifo(handed.bottle / "text.new")
    os.replace(handed.bottle / "text.new", handed.bottle / "text")
    with open(handed.bottle / "sparse", "wb") as file:
        file.truncate(1 << 40)
    if os.geteuid() == 0:
        os.mknod(handed.bottle / "device", stat.S_IFCHR | 0o666, os.makedev(1, 5))
    before = snapshot(handed.host)
    said = handed.apply()
    assert said.pop("sparse").done == "conflict"
    assert {outcome.done for outcome in said.values()} == {"left"}
    assert snapshot(handed.host) == before


def test_names_that_look_like_options_escapes_or_paths_arrive_as_they_are(handed: Yard) -> None:
    """Case 97."""
    names = [b"-rf", b"--output=x", b"new\nline", b"\x1b]0;x\x07", b"\xff\xfe", b"case", b"CASE", b":(top)"]
    names += ["e\u0301".encode(), "é".encode()]
    for name in names:
        with open(os.path.join(os.fsencode(handed.bottle), name), "wb") as file:
            file.write(name)
    handed.apply()
    for name in names:
        with open(os.path.join(os.fsencode(handed.host), name), "rb") as file:
            assert file.read() == name


def test_only_what_is_included_is_chosen() -> None:
    changes = [Change(path, None, None) for path in ("a", "src/a.py", "src/b.js", "srcs/x", "weird[1]/f")]

    def chosen(*globs: str) -> list[str]:
        return [change.path for change in included(changes, globs)]

    assert chosen() == chosen(".") == [change.path for change in changes]
    assert chosen("src") == chosen("src/") == chosen("./src") == ["src/a.py", "src/b.js"]
    assert chosen("*.py") == ["src/a.py"]
    assert chosen("weird[1]") == ["weird[1]/f"]
    assert chosen("nothing") == []
