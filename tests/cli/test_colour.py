from __future__ import annotations

import contextlib
import os
import pty
import subprocess
import sys

import pytest

from claude_bottle.cli.colour import paint
from tests.waiting import SECONDS


def painted_on_a_terminal(**settings: str) -> bytes:
    """What `paint` prints when standard output is a terminal."""
    code = "from claude_bottle.cli.colour import paint; print(paint('running', 'green'))"
    master, slave = pty.openpty()
    environment = {"TERM": "xterm", "PATH": os.environ["PATH"], **settings}
    subprocess.run([sys.executable, "-c", code], cwd="/", env=environment, stdout=slave, check=True, timeout=SECONDS)
    os.close(slave)
    shown = b""
    with contextlib.suppress(OSError), open(master, "rb", buffering=0) as screen:  # EIO, once all of it has been read
        while piece := screen.read(1000):
            shown += piece
    return shown


def test_a_terminal_gets_colour() -> None:
    assert painted_on_a_terminal() == b"\x1b[32mrunning\x1b[0m\r\n"


@pytest.mark.parametrize("settings", [{"NO_COLOR": "1"}, {"TERM": "dumb"}])
def test_a_terminal_that_does_not_want_it_gets_none(settings: dict[str, str]) -> None:
    assert painted_on_a_terminal(**settings) == b"running\r\n"


def test_a_pipe_gets_none(capsys: pytest.CaptureFixture[str]) -> None:
    assert paint("refused", "red") == "refused"
