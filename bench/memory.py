"""What an idle bottle keeps in memory: proportional set size of its keeper and its gate (shared pages counted by share)."""

from __future__ import annotations

import time
from collections.abc import Iterable
from pathlib import Path

from bench.figures import Ratio, Report, figure
from bench.product import Product

GOAL_MIB = 40.0
_QUIET_SECONDS = 0.5


def measure(report: Report, product: Product) -> None:
    rows = []
    with product.idle_bottle() as identity:
        processes = product.processes(identity)
        _settle(processes.values())
        for name, pid in processes.items():
            try:
                rows.append(figure(name, [_mib(pid, "Pss")], "MiB", private=_mib(pid, "Private_Dirty"), rss=_mib(pid, "Rss")))
            except PermissionError:
                report.missing.append(f"memory: {name} shows its memory to nobody but root (run as root)")
                return
    report.sections["memory of an idle bottle (PSS)"] = rows
    report.ratios.append(Ratio("keeper and gate of an idle bottle", sum(row.median for row in rows), GOAL_MIB, unit="MiB"))


def _settle(pids: Iterable[int]) -> None:
    """Until they have had nothing to do for a while: a gate prepares itself once its bottle has booted."""
    used, before = [_ticks(pid) for pid in pids], None
    while used != before:
        time.sleep(_QUIET_SECONDS)
        used, before = [_ticks(pid) for pid in pids], used


def _ticks(pid: int) -> str:
    return " ".join(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13])


def _mib(pid: int, key: str) -> float:
    """One line of /proc/PID/smaps_rollup (KiB there)."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith(key + ":"):
            return int(line.split()[1]) / 1024
    return 0.0
