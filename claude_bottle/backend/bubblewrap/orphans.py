"""Ending bwrap before it has finished, with the child that it leaves.

bwrap makes its child, the bottle's first process, and releases it a moment later. Killed in between, it leaves that child
waiting for ever: nothing tells it that its parent is gone (bwrap arranges for that only afterwards). No program of the
bottle has run then, but a process, its namespaces and its mounts would stay.
"""

from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path

from claude_bottle.backend.stage import STAGE


def end_with_its_child(bwrap: int) -> None:
    """Kill and collect a child of ours that is, or is about to become, bwrap; and what it has made so far. Stopped, it makes
    nothing more while we look."""
    os.kill(bwrap, signal.SIGSTOP)
    if os.WIFSTOPPED(os.waitpid(bwrap, os.WUNTRACED)[1]):
        with contextlib.suppress(OSError):
            for child in Path(f"/proc/{bwrap}/task/{bwrap}/children").read_text().split():
                os.kill(int(child), signal.SIGKILL)
        os.kill(bwrap, signal.SIGKILL)
        os.waitpid(bwrap, 0)


def end_left_with(home: Path) -> None:
    """Kill what a bwrap left that was killed together with its keeper: on its stage lies this home."""
    for entry in os.scandir("/proc"):
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                _end_if_left(int(entry.name), home)


def _end_if_left(pid: int, home: Path) -> None:
    pidfd = os.pidfd_open(pid)
    try:
        name = Path(f"/proc/{pid}/comm").read_text().strip()
        if name == "bwrap" and os.path.samefile(f"/proc/{pid}/root{STAGE}/home", home):
            signal.pidfd_send_signal(pidfd, signal.SIGKILL)
    finally:
        os.close(pidfd)
