from __future__ import annotations

from pathlib import Path

from claude_bottle.harness import get
from claude_bottle.harness.base import Launch
from claude_bottle.state.paths import Paths

SHELL = get("shell")


def launch_of(tmp_path: Path, *args: str) -> Launch:
    program = SHELL.find(Paths(tmp_path))
    assert program is not None
    return Launch(program, args)


def test_without_arguments_it_is_a_shell_and_with_them_that_command(tmp_path: Path) -> None:
    assert SHELL.command(launch_of(tmp_path))[0] in ("/bin/bash", "/bin/sh")
    assert SHELL.command(launch_of(tmp_path, "-x", "$HOME; ls", "")) == ["-x", "$HOME; ls", ""]


def test_it_needs_no_file_of_the_host_and_leaves_the_home_alone(tmp_path: Path) -> None:
    launch = launch_of(tmp_path / "root", "true")
    assert launch.program.mounts == ()
    (tmp_path / "home").mkdir()
    SHELL.seed(tmp_path / "home", launch)
    assert list((tmp_path / "home").iterdir()) == []


def test_it_has_no_conversation_but_a_home_to_come_back_to(tmp_path: Path) -> None:
    assert SHELL.supports_resume
    assert SHELL.transcript_files(tmp_path, "x") == []
    assert SHELL.latest_session(tmp_path) is None
