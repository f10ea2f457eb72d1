"""Run a keeper's loop until something has come about."""

from __future__ import annotations

from collections.abc import Callable

from claude_bottle.keeper.loop import Loop


def run_until(loop: Loop, condition: Callable[[], object]) -> None:
    def look() -> None:
        if condition():
            loop.stop()
        else:
            loop.later(0.01, look)

    look()
    loop.run()
