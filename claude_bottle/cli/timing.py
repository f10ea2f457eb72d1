"""When this process began, for CLAUDE_BOTTLE_TIMING=1: before Python, before the shell that became Python."""

from __future__ import annotations

import os
import time

_START_TIME = 22 - 3  # field 22 of proc(5) stat, counted from the first after the name


def process_started() -> float:
    """As a time.monotonic() value, to within one clock tick (10 ms): the kernel keeps no finer one."""
    now = time.monotonic()
    try:
        with open("/proc/self/stat", "rb") as stat:
            fields = stat.read().rpartition(b")")[2].split()
        started = int(fields[_START_TIME]) / os.sysconf("SC_CLK_TCK")
        return now - (time.clock_gettime(time.CLOCK_BOOTTIME) - started)
    except (OSError, ValueError, IndexError, AttributeError):
        return now
