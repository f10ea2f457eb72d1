"""Waiting for what another process brings about.

SECONDS bounds a wait only so that a failure is told instead of hanging; it says nothing about how fast a thing should
be. On a busy machine with one core a start of Python can take several seconds, so nothing waits for less.
"""

from __future__ import annotations

import json
import os
import select
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

SECONDS = 90.0
_PAUSE = 0.02


def eventually(condition: Callable[[], object], seconds: float = SECONDS) -> None:
    """Until `condition` holds. AssertionError, with its last value, when it never does."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"did not come about within {seconds:g} s (last: {value!r})")
        time.sleep(_PAUSE)


def hang_up(child: Any) -> None:
    """Take its terminal from a program of pexpect's, as whoever closes the window does, and collect it; what does not end by
    that is killed.

    pexpect's own `close` leaves a tenth of a second between one signal and the next, and raises where a program that it has
    killed is not gone after another: a busy machine takes longer.
    """
    if not child.closed:
        child.ptyproc.fileobj.close()
        child.child_fd, child.closed, child.ptyproc.fd, child.ptyproc.closed = -1, True, -1, True
    if child.isalive() and not ended(child.pid):
        os.kill(child.pid, signal.SIGKILL)
        ended(child.pid)
    child.isalive()


def whole_lines(journal: Path) -> list[dict[str, Any]]:
    """What a journal says that grows: a line may be read while it is written, of which only a part is there."""
    return [json.loads(line) for line in journal.read_text().split("\n")[:-1]]


def ended(pid: int, seconds: float = SECONDS) -> bool:
    """Whether a process that is not our child ends within the time."""
    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return readable(pidfd, seconds)
    finally:
        os.close(pidfd)


def readable(fd: int, seconds: float = SECONDS) -> bool:
    """Whether a descriptor becomes readable within the time; a pidfd is once its process has ended."""
    return bool(select.select([fd], [], [], seconds)[0])


def said(fd: int, last: bytes) -> bytes:
    """What can be read of a pipe or terminal up to `last`, in however many pieces it comes."""
    text = b""
    while not text.endswith(last):
        if not (piece := os.read(fd, 1)):
            raise AssertionError(f"it ended with {text!r}")
        text += piece
    return text


def stopped(pid: int) -> bool:
    """Whether a process stands still (SIGSTOP)."""
    return _state(pid) in "Tt"


def asleep(pid: int) -> bool:
    """Whether a process waits for something."""
    return _state(pid) == "S"


def _state(pid: int) -> str:
    """proc_pid_stat(5)."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
