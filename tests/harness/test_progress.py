from __future__ import annotations

import io

from claude_bottle.harness.progress import ProgressLine


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_on_a_terminal_one_line_rewrites_itself_and_is_ended() -> None:
    stream = Terminal()
    with ProgressLine(stream) as progress:
        for text in ("fetching: 1 MB", "fetching: 2 MB", "done"):
            progress(text)
    assert stream.getvalue().count("\n") == 1
    assert stream.getvalue().endswith("\x1b[2Kclaude-bottle: done\n")


def test_elsewhere_each_step_is_a_line_and_its_growth_is_not() -> None:
    stream = io.StringIO()
    with ProgressLine(stream) as progress:
        for text in ("fetching: 1 MB", "fetching: 2 MB", "checking", "done"):
            progress(text)
    assert stream.getvalue().splitlines() == [f"claude-bottle: {t}" for t in ("fetching: 1 MB", "checking", "done")]


def test_nothing_told_writes_nothing() -> None:
    stream = Terminal()
    with ProgressLine(stream):
        pass
    assert stream.getvalue() == ""
