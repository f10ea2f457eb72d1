from __future__ import annotations

import os
from pathlib import Path

import pytest

from claude_bottle.errors import BottleError, UsageError
from claude_bottle.state.paths import Paths


def test_the_default_root_lies_in_the_home_directory() -> None:
    assert Paths.default({"HOME": "/home/ada"}).root == Path("/home/ada/.claude-bottle")


@pytest.mark.parametrize("home", [{}, {"HOME": ""}, {"HOME": "relative"}])
def test_a_missing_or_senseless_home_is_looked_up_in_the_password_database(
    home: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import pwd

    somebody = pwd.getpwall()[0]
    monkeypatch.setattr(os, "getuid", lambda: somebody.pw_uid)
    assert Paths.default(home).root == Path(somebody.pw_dir) / ".claude-bottle"


def test_a_user_without_any_home_is_told_what_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "getuid", lambda: 4_000_000_000)
    with pytest.raises(BottleError) as caught:
        Paths.default({})
    assert "CLAUDE_BOTTLE_HOME" in caught.value.do


def test_root_and_tools_come_from_the_environment() -> None:
    environ = {"HOME": "/home/ada", "CLAUDE_BOTTLE_HOME": "~/state", "CLAUDE_BOTTLE_TOOLS": "/srv/tools"}
    found = Paths.default(environ)
    assert (found.root, found.tools) == (Path("/home/ada/state"), Path("/srv/tools"))


def test_tools_lie_below_the_root_unless_said_otherwise() -> None:
    assert Paths.default({"CLAUDE_BOTTLE_HOME": "/srv/bottles"}).tools == Path("/srv/bottles/tools")


def test_everything_of_an_identity_lies_in_its_state_directory(paths: Paths) -> None:
    identity = "docs-7ahq2c"
    state = paths.root / "state" / identity
    made = [paths.record(identity), paths.plan(identity), paths.journal(identity), paths.lock(identity)]
    made += [
        paths.home(identity),
        paths.workspace(identity),
        paths.layers(identity),
        paths.recording(identity),
    ]
    assert {path.parent for path in made} == {state}
    assert paths.socket(identity) == paths.root / "run" / f"{identity}.sock"
    assert paths.transcripts_of(identity) == paths.root / "transcripts" / "docs" / identity


@pytest.mark.parametrize("hostile", ["", "..", "../x-123456", "a/b-123456", "-x-123456", "x-123456\n", "x\0-123456"])
def test_no_path_is_made_of_an_identity_that_is_none(paths: Paths, hostile: str) -> None:
    for of in (paths.state, paths.record, paths.record_text, paths.lock, paths.socket, paths.home, paths.transcripts_of):
        with pytest.raises(UsageError):
            of(hostile)


def test_the_root_is_made_private_whatever_the_umask(paths: Paths) -> None:
    before = os.umask(0)
    try:
        paths.ensure_root()
    finally:
        os.umask(before)
    assert paths.root.stat().st_mode & 0o777 == 0o700


def test_a_root_that_others_may_read_is_closed(paths: Paths) -> None:
    paths.root.mkdir()
    paths.root.chmod(0o755)
    paths.ensure_root()
    assert paths.root.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("mode", [0o770, 0o707, 0o1777])
def test_a_root_that_others_may_write_to_is_refused_with_the_remedy(paths: Paths, mode: int) -> None:
    paths.root.mkdir()
    paths.root.chmod(mode)
    for check in (paths.ensure_root, paths.check_root):
        with pytest.raises(BottleError) as caught:
            check()
        assert "chmod" in caught.value.do
    assert paths.root.stat().st_mode & 0o7777 == mode


def test_a_root_of_another_user_is_refused(tmp_path: Path) -> None:
    others = tmp_path / "root"
    if os.geteuid() == 0:
        others.mkdir(mode=0o700)
        os.chown(others, 61234, 61234)
    else:
        others = Path("/usr")
    with pytest.raises(BottleError, match="belongs to another user"):
        Paths(others).ensure_root()


@pytest.mark.parametrize("kind", ["link", "dangling", "file"])
def test_a_root_that_is_no_directory_is_refused(paths: Paths, tmp_path: Path, kind: str) -> None:
    if kind == "file":
        paths.root.touch()
    else:
        target = tmp_path / "elsewhere"
        if kind == "link":
            target.mkdir(mode=0o700)
        paths.root.symlink_to(target)
    with pytest.raises(BottleError, match="not a directory"):
        paths.ensure_root()


def test_looking_for_a_root_makes_none(paths: Paths) -> None:
    assert paths.check_root() is False
    assert not paths.root.exists()
