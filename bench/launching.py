"""Whole commands, start to end, taken in turns: wall time, and the CPU time of everything they started.

A keeper outlives the command that made it, so this process becomes the reaper of orphans (PR_SET_CHILD_SUBREAPER) and
counts them too. A daemon's share (dockerd) is not counted.
"""

from __future__ import annotations

import ctypes
import os
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

_PR_SET_CHILD_SUBREAPER = 36
_ORPHANS_SECONDS = 10.0


class Taken(NamedTuple):
    """One command's cost in milliseconds."""

    wall: float
    cpu: float


def interleaved(
    cases: Mapping[str, Sequence[str]], runs: int, *, cwd: Path, env: Mapping[str, str]
) -> dict[str, list[Taken]]:
    """Each case once per turn, `runs` turns after one to warm up. SystemExit when a command fails."""
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    taken: dict[str, list[Taken]] = {name: [] for name in cases}
    for turn in range(runs + 1):
        for name, argv in cases.items():
            cost = _take(name, argv, cwd, env)
            if turn:
                taken[name].append(cost)
    return taken


def _take(name: str, argv: Sequence[str], cwd: Path, env: Mapping[str, str]) -> Taken:
    with tempfile.TemporaryFile() as said:
        started = time.perf_counter()
        pid = os.fork()
        if pid == 0:
            _become(argv, cwd, env, said.fileno())
        _, status, used = os.wait4(pid, 0)
        wall = (time.perf_counter() - started) * 1e3
        if status:
            said.seek(0)
            sys.exit(f"{name} ended with {os.waitstatus_to_exitcode(status)}: {said.read()[-800:].decode(errors='replace')}")
    return Taken(wall, (used.ru_utime + used.ru_stime + _orphans()) * 1e3)


def _become(argv: Sequence[str], cwd: Path, env: Mapping[str, str], output: int) -> None:
    try:
        os.chdir(cwd)
        null = os.open(os.devnull, os.O_RDWR)
        for fd, source in ((0, null), (1, output), (2, output)):
            os.dup2(source, fd)
        os.execvpe(argv[0], list(argv), dict(env))
    finally:
        os._exit(127)


def _orphans() -> float:
    """CPU seconds of what the command left behind, once that has ended too."""
    seconds, deadline = 0.0, time.monotonic() + _ORPHANS_SECONDS
    while time.monotonic() < deadline:
        try:
            pid, _, used = os.wait3(os.WNOHANG)
        except ChildProcessError:
            break
        if pid:
            seconds += used.ru_utime + used.ru_stime
        else:
            time.sleep(0.001)
    return seconds
