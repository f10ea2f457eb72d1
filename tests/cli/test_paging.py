"""Long output: through the operator's pager and in colour on a terminal, plain anywhere else."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pexpect
import pytest

from claude_bottle.cli.paging import write_new
from claude_bottle.errors import BottleError
from tests.waiting import SECONDS, hang_up

CODE = "from claude_bottle.cli.paging import show; show([('+new', 'green'), ('as it was', None)])"
COMMAND = [sys.executable, "-c", CODE]


def on_a_terminal(**env: str) -> str:
    child: pexpect.spawn[str] = pexpect.spawn(
        COMMAND[0], COMMAND[1:], env={"PATH": "/usr/bin:/bin", "TERM": "xterm", **env}, encoding="utf-8", timeout=SECONDS
    )
    shown = str(child.read())
    hang_up(child)
    return shown


@pytest.fixture
def pager(tmp_path: Path) -> str:
    """One that says what it was given, and in which environment."""
    script = tmp_path / "pager"
    script.write_text('#!/bin/sh\necho "paged $1 LESSSECURE=$LESSSECURE LESSOPEN=$LESSOPEN SECRET=$SECRET"\nexec cat\n')
    script.chmod(0o755)
    return str(script)


def test_a_terminal_gets_it_paged_and_coloured_and_the_pager_only_what_it_needs(pager: str) -> None:
    shown = on_a_terminal(PAGER=f"{pager} word", LESSOPEN="|evil %s", SECRET="s")
    assert shown == "paged word LESSSECURE=1 LESSOPEN= SECRET=\r\n\x1b[32m+new\x1b[0m\r\nas it was\r\n"


def test_our_own_variable_wins_and_cat_or_nothing_is_no_pager(pager: str) -> None:
    assert on_a_terminal(PAGER="false", CLAUDE_BOTTLE_PAGER=pager).startswith("paged")
    for none in ("", "cat", "/no/such/pager"):
        assert on_a_terminal(PAGER=none) == "\x1b[32m+new\x1b[0m\r\nas it was\r\n"


def test_colour_is_left_out_when_not_wanted(pager: str) -> None:
    assert "\x1b" not in on_a_terminal(PAGER="cat", NO_COLOR="1")


def test_a_pipe_gets_plain_lines_and_no_pager(pager: str) -> None:
    done = subprocess.run(COMMAND, env={"PAGER": pager, "PATH": "/usr/bin:/bin"}, capture_output=True, check=True)
    assert done.stdout == b"+new\nas it was\n"


def test_a_pager_that_has_seen_enough_is_no_error() -> None:
    assert on_a_terminal(PAGER="head -n 1") == "\x1b[32m+new\x1b[0m\r\n"


def test_an_exact_patch_goes_only_into_a_new_file_of_its_owners(tmp_path: Path) -> None:
    write_new(str(tmp_path / "patch"), b"\x1b[m")
    assert (tmp_path / "patch").stat().st_mode & 0o777 == 0o600
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    for name in ("patch", "link", "missing/x"):
        with pytest.raises(BottleError):
            write_new(str(tmp_path / name), b"")
    assert not (tmp_path / "elsewhere").exists()
