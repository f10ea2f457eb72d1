"""Run the dashboard on this terminal."""

from __future__ import annotations

import os

from claude_bottle.errors import BottleError
from claude_bottle.state.paths import Paths
from claude_bottle.workflow.terminal import mend


def run(paths: Paths | None = None) -> int:
    """The verb. BottleError without a terminal; 0 once the operator has left, 128 and the signal when told to end."""
    mend()
    if not (os.isatty(0) and os.isatty(1)):
        raise BottleError("the dashboard needs a terminal", why="standard input or output is not one",
                          do="claude-bottle requests and claude-bottle ls say the same without one")  # fmt: skip
    # Read by textual when it is imported: a terminal, not a desk top.
    os.environ.setdefault("TEXTUAL_ANIMATIONS", "none")
    from claude_bottle.dashboard.tui.app import Dashboard

    shown = Dashboard(paths or Paths.default())
    shown.run(mouse=False)
    return shown.return_code or 0
