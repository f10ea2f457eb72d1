"""The dashboard as a program of its own in a real terminal (tmux), keys and pastes as they come.

Nothing is pressed before the screen shows that it would count.
"""

from __future__ import annotations

import os
import re
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from claude_bottle.state.paths import Paths
from tests.dashboard.keepers import HOST, FakeKeeper
from tests.harness.screen import Screen
from tests.keeper.conftest import Kept, launch, local_backend, root
from tests.waiting import SECONDS, eventually

__all__ = ["launch", "local_backend", "root"]
Keeper = Callable[..., FakeKeeper]
CLI = [sys.executable, "-m", "claude_bottle", "dashboard"]


@pytest.fixture
def shown(tmp_path: Path) -> Iterator[Callable[..., Screen]]:
    """Begins a dashboard in a terminal; its server is gone at the end."""
    made: list[Screen] = []

    def begin(argv: list[str] = CLI, columns: int = 80, rows: int = 24) -> Screen:
        made.append(Screen(tmp_path, argv, columns=columns, rows=rows))
        return made[-1]

    yield begin
    for screen in made:
        screen.__exit__()


def opened(screen: Screen) -> None:
    """The first request, ready to be decided."""
    screen.wait("waiting for you")
    screen.press("2")
    screen.wait("! waiting")
    screen.press("Enter")
    screen.wait(r"\bready\b")


def decide(screen: Screen, key: str, condition: Callable[[], object]) -> None:
    """Again, if the machine stood still just when the key came: then a dialog takes none."""
    deadline = time.monotonic() + SECONDS
    while not condition():
        screen.wait(r"\bready\b")
        screen.press(key)
        again = time.monotonic() + 10
        while not condition() and time.monotonic() < again:
            assert time.monotonic() < deadline, screen.text()
            time.sleep(0.05)


def test_a_request_is_read_and_approved_by_a_key(paths: Paths, keeper: Keeper, shown: Callable[..., Screen]) -> None:
    made = keeper("reviewer-p02mfe")
    made.ask(1, HOST, reason="I need it")
    screen = shown()
    opened(screen)
    screen.wait("crates.io")
    screen.wait("agent says │ I need it")
    decide(screen, "s", lambda: made.decided)
    screen.wait(r"approved \(session\) and in force")
    screen.press("Escape")
    screen.wait("✓ applied")
    screen.press("q")
    assert screen.exit_code() == 0


def test_what_is_pasted_decides_nothing(paths: Paths, keeper: Keeper, shown: Callable[..., Screen]) -> None:
    made = keeper("reviewer-p02mfe")
    made.ask(1, HOST)
    screen = shown()
    opened(screen)
    screen.paste("s")
    screen.paste("session\n")
    screen.press(*"sosasos", "Escape")
    screen.wait("! waiting")
    assert not made.decided


def test_what_was_typed_ahead_decides_nothing(paths: Paths, keeper: Keeper, shown: Callable[..., Screen]) -> None:
    made = keeper("reviewer-p02mfe")
    made.ask(1, HOST)
    screen = shown()
    screen.wait("waiting for you")
    screen.press("2", "Enter", "s", "o", "a")
    screen.wait(r"\bready\b")
    screen.press("Escape")
    screen.wait("! waiting")
    assert not made.decided


def test_an_agents_terminal_is_lent_and_the_dashboard_comes_back(
    root: Path, launch: Callable[..., Kept], shown: Callable[..., Screen], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLAUDE_BOTTLE_HOME", str(root))
    kept = launch("sh", "-c", "stty -echo; echo here we are; while read word; do echo got $word; done")
    screen = shown()
    screen.wait(kept.identity)
    screen.press("a")
    screen.wait("here we are")
    screen.press(*"hello", "Enter")
    screen.wait("got hello")
    screen.press("C-]")
    screen.wait("1 bottles")
    screen.press("4")
    screen.wait("detached")
    screen.press("q")
    assert screen.exit_code() == 0


def test_a_session_that_ends_while_attached_is_a_line_on_the_page(
    root: Path, launch: Callable[..., Kept], shown: Callable[..., Screen], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLAUDE_BOTTLE_HOME", str(root))
    kept = launch("sh", "-c", "stty -echo; echo here we are; read word; exit 7")
    screen = shown()
    screen.wait(kept.identity)
    screen.press("a")
    screen.wait("here we are")
    screen.press("Enter")
    screen.wait(r"1 bottles[\s\S]*preserved")  # on the page: it is said in the terminal that was lent, too
    screen.press("q")
    assert screen.exit_code() == 0


def test_without_colour_nothing_is_coloured_and_all_is_said(
    paths: Paths, keeper: Keeper, shown: Callable[..., Screen], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    made = keeper("reviewer-p02mfe")
    made.ask(1, HOST, warnings=["wide: any path"])
    made.happened("decision", host="pypi.org", port=443, method="GET", path="/", allow=False, reason="host_not_granted")
    screen = shown()
    screen.wait("waiting for you")
    screen.press("3")
    screen.wait("✗ .* refused")
    assert not coloured(screen.drawn())
    screen.press("2")
    screen.wait("! waiting")
    screen.press("Enter")
    screen.wait(r"\bready\b")
    screen.wait("warning  wide: any path")
    assert not coloured(screen.drawn())


def coloured(drawn: str) -> bool:
    """Whether a sequence sets a colour other than the terminal's own (ECMA-48 8.3.117)."""
    codes = [code for found in re.findall(r"\x1b\[([0-9;]*)m", drawn) for code in found.split(";")]
    return any(re.fullmatch(r"[349][0-8]|10[0-7]", code) for code in codes)


def test_in_colour_some_is(
    paths: Paths, keeper: Keeper, shown: Callable[..., Screen], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    keeper("reviewer-p02mfe").ask(1, HOST)
    screen = shown()
    screen.wait("waiting for you")
    eventually(lambda: coloured(screen.drawn()))


def test_told_to_end_it_gives_the_terminal_back(
    paths: Paths, keeper: Keeper, shown: Callable[..., Screen], tmp_path: Path
) -> None:
    keeper("reviewer-p02mfe")
    pid = tmp_path / "pid"
    screen = shown(["sh", "-c", f'echo $$ > {pid}; exec "$@"', "sh", *CLI])
    screen.wait("1 running")
    os.kill(int(pid.read_text()), signal.SIGTERM)
    assert screen.exit_code() == 128 + signal.SIGTERM
    eventually(lambda: "1 running" not in screen.text())


def test_without_a_terminal_it_says_what_else_there_is(paths: Paths) -> None:
    import subprocess

    done = subprocess.run(CLI, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False, timeout=SECONDS)
    assert done.returncode == 1 and "claude-bottle requests" in done.stderr
