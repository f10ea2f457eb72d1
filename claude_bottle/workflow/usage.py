"""What running bottles take of this machine: processors and memory, summed over their processes.

A bottle's processes are its keeper with everything below it, and, where an engine started the agent, the agent with
everything below that. Read from /proc, which says so of everybody's processes (proc_pid_stat(5)); of a bottle on an engine
elsewhere only the keeper is here.
"""

from __future__ import annotations

import os
import time
from collections.abc import Collection, Iterator, Mapping
from typing import NamedTuple

_PAGE, _TICKS = os.sysconf("SC_PAGE_SIZE"), os.sysconf("SC_CLK_TCK")


class Usage(NamedTuple):
    """`cpu` in processors since the reading before (None for a first one), `memory` resident bytes, pages that processes
    share counted for each."""

    cpu: float | None
    memory: int


class _Process(NamedTuple):
    parent: int
    ticks: int
    pages: int


class Meter:
    """Reads again and again; what was read before gives the time between."""

    def __init__(self) -> None:
        self._before: dict[str, int] = {}
        self._at = 0.0

    def read(self, roots: Mapping[str, Collection[int]]) -> dict[str, Usage]:
        """By identity, for those whose `roots` (pids) live. One look at /proc for all."""
        if not roots:
            return {}
        now, processes = time.monotonic(), dict(_processes())
        children: dict[int, list[int]] = {}
        for pid, process in processes.items():
            children.setdefault(process.parent, []).append(pid)
        found, totals = {}, {}
        for identity, pids in roots.items():
            own = [processes[pid] for pid in _below(pids, children) if pid in processes]
            if own:
                totals[identity] = total = sum(process.ticks for process in own)
                found[identity] = Usage(self._cpu(identity, total, now), sum(process.pages for process in own) * _PAGE)
        self._before, self._at = totals, now
        return found

    def _cpu(self, identity: str, total: int, now: float) -> float | None:
        before = self._before.get(identity)
        if before is None or now <= self._at:
            return None
        return max(total - before, 0) / _TICKS / (now - self._at)


def _below(roots: Collection[int], children: Mapping[int, list[int]]) -> set[int]:
    found: set[int] = set()
    waiting = list(roots)
    while waiting:
        pid = waiting.pop()
        if pid not in found:
            found.add(pid)
            waiting += children.get(pid, ())
    return found


def _processes() -> Iterator[tuple[int, _Process]]:
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open(f"/proc/{name}/stat", "rb") as file:
                    fields = file.read().rpartition(b")")[2].split()
                # ppid; utime, stime, cutime, cstime (of children that were waited for: counted nowhere else); rss
                yield int(name), _Process(int(fields[1]), sum(map(int, fields[11:15])), int(fields[21]))
            except (OSError, ValueError, IndexError):
                continue
