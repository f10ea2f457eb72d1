"""Why a bottle is kept whose agent has ended as it did. Pure."""

from __future__ import annotations

import signal


def reason_of(code: int, stopped: bool, *, starved: bool = False) -> str | None:
    """Why an agent that ended with `code` (128 + signal where one killed it) is preserved; None for 0. `starved`: the
    kernel has killed for want of memory."""
    if code == 0:
        return None
    how = f"exit {code}"
    if starved and code == 128 + signal.SIGKILL:
        how = "killed (out of memory)"
    elif code == 128 + signal.SIGINT:
        how = "exit 130 (Ctrl-C)"
    elif code > 128:
        try:
            how = f"killed ({signal.Signals(code - 128).name})"
        except ValueError:
            pass
    return f"stopped ({how})" if stopped else how
