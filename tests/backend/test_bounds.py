"""What a bubblewrap bottle may use: where groups can be made, what is enforced by what, and who goes first without memory."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from claude_bottle.backend.bubblewrap import bounds, cgroups
from claude_bottle.manifest.bottle import Limits
from claude_bottle.model.plan import UNLIMITED, Limit
from tests.backend.keeping import keep
from tests.ordinary_user import Person

FIND = """
import json, sys
from claude_bottle.backend.bubblewrap import cgroups
found = cgroups.find_in(*json.loads(sys.argv[1]))
print(json.dumps(found and [list(map(list, found.parents)), found.unified]))
"""


def hierarchy(user: Person, controllers: dict[str, str], delegated: str) -> Path:
    """A tree as cgroup2 has it: each directory gives its children these controllers; below `delegated` it is the user's."""
    top = user.directory("cgroup")
    for path, given in controllers.items():
        place = top / path
        place.mkdir(exist_ok=True)
        for name, text in (("cgroup.procs", ""), ("cgroup.subtree_control", given), ("cgroup.controllers", given)):
            (place / name).write_text(text)
        owner = user.uid if f"{path}/".startswith(f"{delegated}/") else 0
        for one in (place, *place.iterdir()):
            os.chown(one, owner, owner)
            one.chmod(0o755 if one.is_dir() else 0o644)
    return top


def found_by(user: Person, own: str, top: Path) -> object:
    mounts = f"41 31 0:38 / {top} rw,relatime - cgroup2 cgroup2 rw\n"
    done = user.run([user.python, "-c", FIND, json.dumps([f"0::/{own}\n", mounts])])
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture
def user(everybody: dict[str, Person]) -> Person:
    if os.geteuid() != 0:
        pytest.skip("cannot run here: only root gives directories to a test user")
    return everybody["user"]


def test_a_user_makes_groups_in_what_was_delegated_to_them_and_they_run_in(user: Person) -> None:
    tree = {"": "cpu memory pids", "user": "cpu memory pids", "user/apps": "memory pids", "user/apps/terminal": ""}
    top = hierarchy(user, tree, "user/apps")
    assert found_by(user, "user/apps/terminal", top) == [[["memory", f"{top}/user/apps"]], True]


def test_of_two_delegated_groups_the_one_with_more_controllers_is_taken(user: Person) -> None:
    tree = {"": "cpu memory", "user": "cpu memory", "user/apps": "memory", "user/apps/terminal": ""}
    top = hierarchy(user, tree, "user")
    assert found_by(user, "user/apps/terminal", top) == [[["memory", f"{top}/user"], ["cpu", f"{top}/user"]], True]


def test_a_user_to_whom_nothing_is_delegated_makes_no_group(user: Person) -> None:
    """An ssh session: its scope is not theirs, and what is theirs elsewhere does not count, for they could not move there."""
    top = hierarchy(user, {"": "cpu memory", "session": "cpu memory", "theirs": "cpu memory"}, "theirs")
    assert found_by(user, "session", top) is None
    assert found_by(user, "", top) is None


def test_the_top_of_a_containers_view_gives_nothing_that_it_does_not_give_already(tmp_path: Path) -> None:
    """There processes and children with controllers exclude each other, and we are such a process (cgroups(7))."""
    for name, text in (("cgroup.procs", ""), ("cgroup.subtree_control", ""), ("cgroup.controllers", "cpu memory"),
                       ("cgroup.type", "domain\n")):  # fmt: skip
        (tmp_path / name).write_text(text)
    assert cgroups.find_in("0::/\n", f"41 31 0:38 / {tmp_path} rw - cgroup2 cgroup2 rw\n") is None


def test_without_groups_the_plan_says_what_bounds_each_program_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cgroups, "find", lambda: None)
    assert bounds.limits(Limits(memory=1 << 30, cpus=1.5, pids=9)) == (
        Limit("memory", "1024m", True, "rlimit, for each program"), Limit("cpus", "1.5", False),
        Limit("pids", "9", True, "rlimit"), Limit("disk", UNLIMITED, False),
    )  # fmt: skip


def test_what_the_manifest_does_not_limit_is_limited_all_the_same() -> None:
    said = {limit.name: limit for limit in bounds.limits(Limits())}
    assert said["memory"].enforced and said["pids"].enforced
    assert 0 < int(said["memory"].value.removesuffix("m")) << 20 < os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    assert said["pids"].value == "4096"


def test_when_no_memory_is_left_a_bottles_programs_go_first_and_then_its_first_process(person: Person) -> None:
    said = keep(person, """
with launch() as bottle:
    code, own = output(bottle, "cat", "/proc/self/oom_score_adj")
    _, first = output(bottle, "cat", "/proc/1/oom_score_adj")
    _, tried = output(bottle, "sh", "-c", "echo 0 > /proc/1/oom_score_adj; cat /proc/1/oom_score_adj")
    show([own, first, tried, open("/proc/self/oom_score_adj").read()])
""")
    assert [int(one) for one in said] == [1000, 900, 900, int(Path("/proc/self/oom_score_adj").read_text())]


def test_a_group_that_a_dead_keeper_left_is_found_again_and_removed(tmp_path: Path) -> None:
    where = cgroups.find()
    if where is None:
        pytest.skip("cannot run here: no control group can be made on this host")
    name = cgroups.name_of("left-abcdef", tmp_path)
    group = cgroups.make(where, name, memory=64 << 20, cpus=1)
    assert all(Path(one).is_dir() for one in group.directories)
    bounds.remove_left("left-abcdef", tmp_path)
    assert not any(Path(one).exists() for one in group.directories)
