"""How an operator notices: the title and bell of an attached terminal, which no agent can fake, and a command of theirs."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pexpect
import pytest

from claude_bottle.keeper.title import Title
from claude_bottle.state.marker import marker
from tests.keeper.asked import CRATES, Asked, Bottle, asking, host
from tests.waiting import SECONDS, eventually, hang_up

__all__ = ["asking"]

SAVE, RESTORE = b"\x1b[22;2t", b"\x1b[23;2t"
# Tries to set titles in every way that the terminal might understand, then shows what is typed.
LIES = (
    r"""stty -echo; while read line; do printf '\033]2;all is well\007\033]0;fake\033\\\033[23;2t\033[22;2t'; """
    r"""printf '\033kold\033\\'; echo "heard $line."; done"""
)
LIAR = ("sh", "-c", LIES)


@pytest.fixture
def attached() -> Iterator[Any]:
    """`attached(bottle)`: a terminal with the bottle's session in it, and all that was written to it in `logfile_read`."""
    made: list[Any] = []

    def attach(bottle: Asked) -> Any:
        argv = ["-m", "tests.keeper.program", "attach", str(bottle.kept.order.paths.root), bottle.identity]
        child = pexpect.spawn(sys.executable, argv, timeout=SECONDS, echo=False)
        made.append(child)
        child.expect(b"attaching")
        child.sendline("hello")
        child.expect(b"heard hello")
        return child

    yield attach
    for child in made:
        hang_up(child)


def title(bottle: Asked, what: str) -> bytes:
    words = marker(bottle.kept.order.paths)
    return f"\x1b]2;◆ {words} · {bottle.identity} asks: {what}\x1b\\".encode()


def test_an_attached_terminal_has_a_title_and_a_bell_while_something_waits(asking: Bottle, attached: Any) -> None:
    bottle = asking(argv=LIAR)
    child = attached(bottle)
    request = bottle.asked()
    child.expect(re.escape(SAVE + title(bottle, "crates.io") + b"\x07"))
    bottle.asked(host("pypi.org"), ticket="t-2")
    child.expect(re.escape(title(bottle, "pypi.org (+1)") + b"\x07"))
    bottle.decide("reject", request)
    child.expect(re.escape(title(bottle, "pypi.org")))
    bottle.decide("reject", bottle.requests()["requests"][1]["id"])
    child.expect(re.escape(RESTORE))


def test_a_terminal_that_is_attached_later_shows_what_waits_and_gets_its_own_title_back(
    asking: Bottle, attached: Any
) -> None:
    bottle = asking(argv=LIAR)
    bottle.asked()
    child = attached(bottle)
    assert (
        title(bottle, "crates.io") in child.before + child.after or child.expect(re.escape(title(bottle, "crates.io"))) == 0
    )
    child.send(b"\x1d")
    child.expect(re.escape(RESTORE))
    child.expect(b"detached")


def test_the_agent_can_neither_set_nor_take_away_a_title(asking: Bottle, attached: Any) -> None:
    bottle = asking(argv=LIAR)
    child = attached(bottle)
    seen = child.before + child.after
    assert b"well" not in seen
    assert b"fake" not in seen
    assert b"\x1b]" not in seen
    assert b"22;2t" not in seen


def test_a_title_is_saved_once_and_restored_once() -> None:
    shown = Title()
    assert shown.show("◆ a asks: x", True) == SAVE + "\x1b]2;◆ a asks: x\x1b\\".encode() + b"\x07"
    assert shown.show("◆ a asks: x", False) == b""
    assert shown.show("◆ a asks: y") == "\x1b]2;◆ a asks: y\x1b\\".encode()
    assert shown.restoring() == RESTORE
    assert shown.restoring() == b""


@pytest.mark.parametrize("said", [None, 7, ["x"], {}])
def test_a_title_that_is_no_text_is_none(said: object) -> None:
    assert Title().show(said, said) == b""


def test_a_title_cannot_carry_anything_but_text() -> None:
    assert b"\x1b[31m" not in Title().show("a\x1b[31m\x07\x1b\\b")


def noted(path: Path) -> list[Any]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def test_the_operators_command_gets_each_new_request_on_stdin_and_nothing_in_its_words(
    asking: Bottle, tmp_path: Path
) -> None:
    told, words = tmp_path / "told", tmp_path / "words"
    command = ("sh", "-c", f'cat >> {told}; echo >> {told}; echo "$0 $@" >> {words}', "ping")
    bottle = asking(notify=command)
    first = bottle.asked(reason="$(touch /tmp/x) `id` \x1b[2J")
    bottle.gate.ask(CRATES, ticket="t-5")
    second = bottle.asked(host("pypi.org"), ticket="t-2")
    eventually(lambda: words.exists() and words.read_text().count("ping") == 2)  # the last it writes
    assert [one["id"] for one in noted(told)] == [first, second]
    assert noted(told)[0]["reason"] == "$(touch /tmp/x) `id` \\x1b[2J"
    assert noted(told)[0]["lines"] == ["+ GET  https://crates.io/api/**"]
    assert words.read_text() == "ping \nping \n"


@pytest.mark.parametrize("command", [("sh", "-c", "echo no such display >&2; exit 1"), ("/nonexistent/notify",)])
def test_a_command_that_fails_is_journalled_once_and_hinders_nothing(asking: Bottle, command: tuple[str, ...]) -> None:
    bottle = asking(notify=command)
    request = bottle.asked()
    bottle.asked(host("pypi.org"), ticket="t-2")
    eventually(lambda: bottle.events("fault"))
    assert bottle.approve(request)["state"] == "applied"
    assert len(bottle.events("fault")) == 1
    assert bottle.events("fault")[0]["data"]["what"] == "the operator could not be told of a request"


def test_a_command_that_hangs_hinders_nothing(asking: Bottle) -> None:
    bottle = asking(notify=("sleep", "600"))
    assert bottle.approve(bottle.asked())["state"] == "applied"
