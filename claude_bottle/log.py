"""What we say to the operator on stderr, and where the time went.

Two doors: `say`/`warn` for one-line messages (all carry the `claude-bottle:` prefix, so that ours and the agent's
words cannot be confused) and `error` for the what/why/do block. Whatever goes through them is made safe to show, whoever
forgot to (`redact.printable`). `mark` collects timings for CLAUDE_BOTTLE_TIMING=1.
"""

from __future__ import annotations

import os
import sys
import time

from claude_bottle.errors import BottleError
from claude_bottle.redact import printable

PREFIX = "claude-bottle: "
_marks: list[tuple[str, float]] = []
_timing = os.environ.get("CLAUDE_BOTTLE_TIMING") == "1"


def say(text: str) -> None:
    """One line to the operator. A closed stderr is not an error: the session matters more than the message."""
    try:
        print(f"{PREFIX}{printable(text, keep_newlines=True)}", file=sys.stderr, flush=True)
    except (OSError, ValueError):
        pass


def warn(text: str) -> None:
    say(f"warning: {text}")


def error(problem: BottleError) -> None:
    """The block a failed command ends with: what, then why, do and more where known (see docs/cli.md)."""
    lines = [printable(problem.what)]
    for label, text in (("why", problem.why), ("do", problem.do), ("more", problem.more)):
        for index, line in enumerate(text.splitlines()):
            lines.append(f"  {label if index == 0 else '':<6}{line}")
    say("\n".join(lines))


def mark(name: str) -> None:
    """Note that the step called `name` has just ended (CLOCK_MONOTONIC, seconds; comparable across our processes)."""
    if _timing:
        _marks.append((name, time.monotonic()))


def marks() -> list[tuple[str, float]]:
    return list(_marks)


def merge_marks(other: list[tuple[str, float]]) -> None:
    """Take in the marks another of our processes collected."""
    if _timing:
        _marks.extend((str(name), float(at)) for name, at in other)


def report(started: float) -> None:
    """Print each mark with its time since `started` (a time.monotonic() value) and since the mark before it."""
    if not _timing:
        return
    before = started
    for name, at in sorted(_marks, key=lambda m: m[1]):
        say(f"timing {(at - started) * 1e3:8.1f} ms  +{(at - before) * 1e3:7.1f}  {name}")
        before = at
