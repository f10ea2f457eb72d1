"""How much files take: every one of them, wherever an agent has put it, and nothing outside."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from claude_bottle.backend import disk_usage
from claude_bottle.backend.disk_usage import ENTRY, Hidden, Usage, count
from tests.ordinary_user import Person
from tests.persons import everybody
from tests.waiting import SECONDS, eventually

__all__ = ["everybody"]

MIB = 1 << 20
FAR = 1 << 40
TEXT = Path(disk_usage.__file__).read_text()
pytestmark = pytest.mark.threat(117)


def test_bytes_count_once_whatever_their_names(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x" * MIB)
    os.link(tmp_path / "a", tmp_path / "b")
    (tmp_path / "d").mkdir()
    os.link(tmp_path / "a", tmp_path / "d/c")
    assert MIB <= count([str(tmp_path), str(tmp_path)], FAR) < MIB + 10 * ENTRY


def test_files_without_bytes_count_too(tmp_path: Path) -> None:
    for number in range(100):
        (tmp_path / str(number)).touch()
    assert count([str(tmp_path)], FAR) >= 100 * ENTRY


def test_holes_do_not(tmp_path: Path) -> None:
    with (tmp_path / "sparse").open("wb") as file:
        file.truncate(1 << 40)
    assert count([str(tmp_path)], FAR) < MIB


def test_no_link_leads_outside(tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/big").write_bytes(b"x" * MIB)
    (tmp_path / "home").mkdir()
    (tmp_path / "home/link").symlink_to(tmp_path / "outside")
    (tmp_path / "away").symlink_to(tmp_path / "outside")
    assert count([str(tmp_path / "home"), str(tmp_path / "away")], FAR) < MIB


def test_what_is_not_there_counts_nothing(tmp_path: Path) -> None:
    assert count([str(tmp_path / "none")], FAR) == 0


def test_counting_ends_above_the_bound(tmp_path: Path) -> None:
    for number in range(200):
        (tmp_path / str(number)).touch()
    assert ENTRY * 10 < count([str(tmp_path)], ENTRY * 10) < ENTRY * 13


def test_a_descriptor_is_a_place_like_a_path_and_a_place_within_another_counts_once(tmp_path: Path) -> None:
    (tmp_path / "within").mkdir()
    (tmp_path / "within/big").write_bytes(b"x" * MIB)
    look = os.open(tmp_path / "within", os.O_PATH)
    try:
        assert MIB <= count([look], FAR) < MIB + 10 * ENTRY
        assert MIB <= count([str(tmp_path), look], FAR) < MIB + 10 * ENTRY
    finally:
        os.close(look)


def test_what_is_somebody_elses_is_left_out(tmp_path: Path) -> None:
    """A directory or file of the host's that appears in a bottle's home."""
    for name in ("theirs", "ours"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "big").write_bytes(b"x" * MIB)
    theirs = frozenset({(found.st_dev, found.st_ino) for found in [(tmp_path / "theirs").stat()]})
    assert MIB <= count([str(tmp_path)], FAR, theirs) < MIB + 10 * ENTRY


def deep(place: Path, depth: int, *, beside: int = 1) -> None:
    """A megabyte, in each of `beside` directories `depth` down."""
    before = os.getcwd()
    os.chdir(place)
    try:
        for _ in range(depth):
            os.mkdir("d")
            os.chdir("d")
        for number in range(beside):
            os.mkdir(str(number))
            Path(str(number), "big").write_bytes(b"x" * (MIB if beside == 1 else 1))
    finally:
        os.chdir(before)


def test_no_depth_hides_anything(tmp_path: Path) -> None:
    deep(tmp_path, 3 * disk_usage.DEEPEST)
    assert count([str(tmp_path)], FAR) >= MIB + 3 * disk_usage.DEEPEST * ENTRY


def test_looking_holds_few_descriptors_open_however_deep_and_many_directories_are(tmp_path: Path) -> None:
    """More of them than anybody has: as if they held too much."""
    deep(tmp_path, disk_usage.DEEPEST, beside=disk_usage.LATER + 1)
    before = os.listdir("/proc/self/fd")
    assert count([str(tmp_path)], FAR) == FAR + 1
    assert len(os.listdir("/proc/self/fd")) == len(before)


CLOSED = """
import json, os, sys
from claude_bottle.backend.disk_usage import count
home = sys.argv[1]
os.makedirs(home + "/closed/within/more")
for place in ("big", "closed/big", "closed/within/big"):
    with open(home + "/" + place, "wb") as file:
        file.write(bytes(1 << 20))
places = [home + "/closed/within", home + "/closed", home]
for place in places:
    os.chmod(place, 0)
found = count([home], 1 << 40)
modes = []
for place in reversed(places):
    modes.append(os.stat(place).st_mode & 0o777)
    os.chmod(place, 0o700)
print(json.dumps([found, modes]))
"""


def test_what_an_agent_has_closed_to_its_owner_counts_and_stays_closed(everybody: dict[str, Person]) -> None:
    """The home itself, too: then there is no way in by any name."""
    person = everybody["user"]
    done = person.run([person.python, "-c", CLOSED, str(person.directory("home"))])
    assert done.returncode == 0, done.stderr
    found, modes = json.loads(done.stdout)
    assert 3 * MIB <= found < 3 * MIB + 20 * ENTRY
    assert modes == [0, 0, 0]


def test_who_closes_it_again_and_again_has_too_much(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir(mode=0o750)
    directory, tries = os.open(tmp_path / "d", os.O_PATH), list[int]()

    def refused() -> None:
        tries.append((tmp_path / "d").stat().st_mode & 0o777)
        (tmp_path / "d").chmod(0o010)
        raise PermissionError

    try:
        with pytest.raises(Hidden):
            disk_usage._insist(directory, refused)
    finally:
        os.close(directory)
    assert tries == [0o750, *[0o510] * disk_usage._TRIES]
    assert (tmp_path / "d").stat().st_mode & 0o777 == 0o010


def test_files_are_looked_at_when_they_may_have_become_too_many(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage, near = Usage([str(tmp_path)], FAR), Usage([str(tmp_path)], 1)
    with monkeypatch.context() as patch:
        patch.setattr(disk_usage, "LOOK_AGAIN", 1e9)
        assert usage.held() == 0
    assert near.held() == 0
    (tmp_path / "big").write_bytes(b"x" * MIB)
    assert usage.held() == 0
    eventually(lambda: near.held() > 1)  # at the latest when it looks anyway: others may free as much here


def test_files_are_looked_at_now_and_then_whatever_is_free(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Others may have freed meanwhile what the bottle took."""
    monkeypatch.setattr(disk_usage, "LOOK_AGAIN", 0.0)
    monkeypatch.setattr(disk_usage, "SHARE", float("inf"))
    usage = Usage([str(tmp_path)], FAR)
    assert usage.held() == 0
    (tmp_path / "big").write_bytes(b"x" * MIB)
    assert usage.held() >= MIB


def test_a_look_ends_when_it_is_told_to(tmp_path: Path) -> None:
    for number in range(10):
        (tmp_path / str(number)).touch()
    usage = Usage([str(tmp_path)], FAR)
    usage.stop()
    assert usage.held() == 0


def test_its_text_runs_alone_answers_each_question_and_ends_with_who_asks(tmp_path: Path) -> None:
    command = [sys.executable, "-I", "-S", "-c", TEXT, str(MIB), str(tmp_path)]
    running = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0)
    assert running.stdin and running.stdout
    running.stdin.write(b".")
    assert running.stdout.readline() == b"0\n"
    (tmp_path / "big").write_bytes(b"x" * 2 * MIB)
    stdin, stdout = running.stdin, running.stdout
    eventually(lambda: stdin.write(b".") and int(stdout.readline()) > MIB)
    running.stdin.close()
    assert running.wait(SECONDS) == 0
    running.stdout.close()


def test_it_is_understood_by_the_oldest_python_an_image_may_have() -> None:
    tree = ast.parse(TEXT, feature_version=(3, 9))
    imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    assert imported == {"os", "stat", "sys", "time"}
