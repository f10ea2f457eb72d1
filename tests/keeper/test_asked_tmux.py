"""The title in a real terminal (tmux): set while something waits, the terminal's own again afterwards."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from claude_bottle.state.marker import marker
from tests.keeper.asked import Bottle, asking
from tests.keeper.test_asked_notice import LIAR
from tests.waiting import eventually

__all__ = ["asking"]

OWN = "the operators own title"
Tmux = Callable[..., str]


@pytest.fixture
def tmux(tmp_path: Path) -> Iterator[Tmux]:
    """`tmux(*words)`: a command of a server of this test's own; what it says."""
    if shutil.which("tmux") is None:
        pytest.skip("cannot run here: there is no tmux")
    socket = str(tmp_path / "tmux")

    def say(*words: str) -> str:
        command = ["tmux", "-S", socket, "-f", "/dev/null", *words]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    yield say
    subprocess.run(["tmux", "-S", socket, "kill-server"], capture_output=True, check=False)


def test_a_terminal_shows_who_asks_and_gets_its_own_title_back(asking: Bottle, tmux: Tmux) -> None:
    bottle = asking(argv=LIAR)
    root = str(bottle.kept.order.paths.root)
    attach = f"{sys.executable} -m tests.keeper.program attach {root} {bottle.identity}"
    tmux("new-session", "-d", "-x", "100", "-y", "30", f"printf '\\033]2;{OWN}\\033\\\\'; {attach}; exec sleep 600")

    def title() -> str:
        return tmux("display-message", "-p", "#{pane_title}")

    eventually(lambda: "attaching" in tmux("capture-pane", "-p"))
    tmux("send-keys", "hello", "Enter")
    eventually(lambda: "heard hello" in tmux("capture-pane", "-p"))
    assert title() == OWN  # whatever the agent tried
    request = bottle.asked()
    eventually(lambda: title() == f"◆ {marker(bottle.kept.order.paths)} · {bottle.identity} asks: crates.io")
    bottle.decide("reject", request)
    eventually(lambda: title() == OWN)
    bottle.asked(ticket="t-2")
    eventually(lambda: "asks: crates.io" in title())
    tmux("send-keys", "C-]")
    eventually(lambda: "detached" in tmux("capture-pane", "-p"))
    eventually(lambda: title() == OWN)
