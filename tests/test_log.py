"""What reaches the operator's terminal through our messages."""

from __future__ import annotations

import io

import pytest

from claude_bottle import log
from claude_bottle.errors import BottleError

HOSTILE = "\x1b]52;c;eA==\x07\x1b[2J\u202egnp\r\x9b0m"


@pytest.mark.parametrize("say", [log.say, log.warn], ids=["say", "warn"])
def test_a_message_never_acts_on_the_terminal(capsys: pytest.CaptureFixture[str], say: object) -> None:  # threats 70, 106
    say(f"cannot read {HOSTILE}\nsecond line")  # type: ignore[operator]
    shown = capsys.readouterr().err
    assert shown.startswith("claude-bottle: ")
    assert not set(shown) & set("\x1b\x07\r\x9b\u202e")
    assert shown.count("\n") == 2


def test_an_error_is_one_line_and_an_indented_block(capsys: pytest.CaptureFixture[str]) -> None:
    log.error(BottleError(f"broken\nclaude-bottle: all is well {HOSTILE}", why="one\ntwo", do=HOSTILE))
    first, *rest = capsys.readouterr().err.splitlines()
    assert first.startswith("claude-bottle: broken\\nclaude-bottle: all is well")
    assert [line[:8] for line in rest] == ["  why   ", " " * 8, "  do    ", " " * 8]
    assert not set("".join(rest)) & set("\x1b\x07\x9b\u202e")


def test_a_closed_stderr_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    closed = io.StringIO()
    closed.close()
    monkeypatch.setattr("sys.stderr", closed)
    log.say("nobody hears this")
