"""Waiting for what another process brings about.

SECONDS bounds a wait only so that a failure is told instead of hanging; it says nothing about how fast a thing should
be. On a busy machine with one core a start of Python can take several seconds, so nothing waits for less.
"""

from __future__ import annotations

import os
import select
import time
from collections.abc import Callable
from pathlib import Path

SECONDS = 90.0
_PAUSE = 0.02


def eventually(condition: Callable[[], object], seconds: float = SECONDS) -> None:
    """Until `condition` holds. AssertionError, with its last value, when it never does."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"did not come about within {seconds:g} s (last: {value!r})")
        time.sleep(_PAUSE)


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
