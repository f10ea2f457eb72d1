"""git, where it is run, sees nothing but a repository of ours."""

from __future__ import annotations

from pathlib import Path

import pytest

from claude_bottle import proc
from claude_bottle.errors import EnvironmentLacks
from claude_bottle.workspace.quarantine import quarantine
from tests.workspace.conftest import Yard, plant


@pytest.fixture
def hostile(yard: Yard, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An operator's environment full of what git would obey; the canary that each of it would make."""
    canary = yard.place / "ran"
    script = yard.place / "script"
    script.write_text(f"#!/bin/sh\ntouch {canary}\n")
    script.chmod(0o755)
    config = f"[diff]\n\texternal = {script}\n[core]\n\thooksPath = {yard.place}\n\tpager = {script}\n\tattributesFile = x\n"
    for name in ("home/.gitconfig", "home/.config/git/config", "system"):
        plant(yard.place, {name: config})
    plant(yard.place, {"home/.config/git/attributes": "* -diff\n"})
    for name, value in {
        "HOME": str(yard.place / "home"), "XDG_CONFIG_HOME": str(yard.place / "home/.config"), "GIT_DIR": "/nowhere",
        "GIT_CONFIG_GLOBAL": str(yard.place / "system"), "GIT_CONFIG_SYSTEM": str(yard.place / "system"),
        "GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "diff.external", "GIT_CONFIG_VALUE_0": str(script),
        "GIT_EXTERNAL_DIFF": str(script),
        "GIT_OBJECT_DIRECTORY": "/nowhere", "GIT_ALTERNATE_OBJECT_DIRECTORIES": "/nowhere", "GIT_INDEX_FILE": "/nowhere",
        "GIT_WORK_TREE": str(yard.bottle), "GIT_TEMPLATE_DIR": str(yard.bottle), "GIT_SSH_COMMAND": str(script),
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    plant(yard.bottle, {"hooks/reference-transaction": script.read_text(), "config": config, "info/attributes": "* -diff\n"})
    (yard.bottle / "hooks/reference-transaction").chmod(0o755)
    return canary


def test_nothing_of_the_operators_environment_or_settings_reaches_git(hostile: Path) -> None:
    with quarantine() as place:
        listed = place.run("config", "--list", "--show-origin").out.decode()
        assert {line.split("\t")[0] for line in listed.splitlines()} == {f"file:{place.git}/config"}
        assert not (place.git / "hooks").exists()
        stream = b"commit refs/heads/a\ncommitter x <x@x> 0 +0000\ndata 0\n\nM 100644 inline f\ndata 1\nx\n\ndone\n"
        place.run("fast-import", "--quiet", "--done", input=stream)
        assert b"+x" in place.run("diff-tree", "-p", "--root", "refs/heads/a").out
    assert not hostile.exists()


def test_no_protocol_but_that_of_files_can_be_spoken(yard: Yard) -> None:
    with quarantine() as place:
        for address in (f"ext::sh -c touch% {yard.place}/ran", "http://127.0.0.1:1/x", "git://127.0.0.1/x", "ssh://127.0.0.1/x"):
            done = place.run("fetch", "--quiet", address, check=False)
            assert done.code != 0 and b"not allowed" in done.err, (address, done.err)
    assert not (yard.place / "ran").exists()


def test_it_is_private_and_gone_afterwards() -> None:
    with quarantine() as place:
        directory = place.directory
        assert directory.stat().st_mode & 0o777 == 0o700
    assert not directory.exists()


def test_without_git_it_is_said_what_is_missing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert proc.find("git") is None
    with pytest.raises(EnvironmentLacks, match="git"), quarantine():
        pass
