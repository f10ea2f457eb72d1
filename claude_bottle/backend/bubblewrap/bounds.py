"""What the kernel lets a bottle use, and who goes first when there is no memory left.

Processes: RLIMIT_NPROC, which since Linux 5.14 counts in the user namespace, so for a bottle alone and for all of it.
Memory and processors: a control group where this host lets us make one; else RLIMIT_DATA bounds the memory of each
program, and its private tmpfs are smaller. When all of the machine's memory is used up, the kernel ends programs of a
bottle before anything else, and at last its first process, which takes along whatever the bottle keeps in memory.
"""

from __future__ import annotations

import os
import re
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from claude_bottle.backend import allowance, idmaps
from claude_bottle.backend import namespaces as ns
from claude_bottle.backend.bubblewrap import cgroups
from claude_bottle.model.plan import UNLIMITED, Limit
from claude_bottle.values import dataclass

if TYPE_CHECKING:
    from claude_bottle.manifest.bottle import Limits

CGROUP, RLIMIT, EACH = "cgroup", "rlimit", "rlimit, for each program"
# As oom_score_adj (proc_pid_oom_score_adj(5)): programs before the first process, that one before everything else.
_PROGRAM, FIRST = 1000, 900
_TMP = 256 << 20


def limits(wanted: Limits) -> tuple[Limit, ...]:
    """The limits of a plan, and by what they are enforced here."""
    where, said = cgroups.find(), allowance.amounts(wanted)
    memory = Limit("memory", said["memory"], True, CGROUP if where and where.has(cgroups.MEMORY) else EACH)
    pids = Limit("pids", said["pids"] if counted() or wanted.pids else UNLIMITED, counted(), RLIMIT if counted() else "")
    if where and where.has(cgroups.CPU):
        cpus = Limit("cpus", said["cpus"], True, CGROUP)
    else:
        cpus = Limit("cpus", said["cpus"] if wanted.cpus else UNLIMITED, enforced=False)
    return memory, cpus, pids, Limit("disk", UNLIMITED, enforced=False)


def counted() -> bool:
    """Whether this kernel counts the processes of a user namespace by themselves."""
    found = re.match(r"(\d+)\.(\d+)", os.uname().release)
    return found is not None and (int(found[1]), int(found[2])) >= (5, 14)


@dataclass(frozen=True)
class Bounds:
    """Those of one bottle: processes at a time, bytes of memory for each program, the group of all of them."""

    pids: int | None = None
    data: int | None = None
    group: cgroups.Group | None = None
    tmp: int = _TMP
    """Bytes that each of its private tmpfs may hold."""

    def take_in(self, preference: int = _PROGRAM) -> None:
        """The calling process, outside of the bottle still, counts as the bottle's from now on."""
        if self.group is not None:
            self.group.enter()
        # What hides its memory cannot open its own files in /proc. The bottle does not see this process yet.
        if os.geteuid() != 0:
            ns.prctl(ns.PR_SET_DUMPABLE, 1)
        if int(Path("/proc/self/oom_score_adj").read_text()) < preference:
            idmaps.write("/proc/self/oom_score_adj", str(preference))

    def apply(self) -> None:
        """To the calling process, which is in the bottle, and all that it begets. There is no way back."""
        for limit, most in ((resource.RLIMIT_NPROC, self.pids), (resource.RLIMIT_DATA, self.data)):
            if most is not None:
                _, hard = resource.getrlimit(limit)
                value = most if hard == resource.RLIM_INFINITY else min(most, hard)
                resource.setrlimit(limit, (value, value))


@contextmanager
def held(identity: str, home: Path, planned: tuple[Limit, ...]) -> Iterator[Bounds]:
    """The bounds of a bottle with these limits in its plan, which must have ended before this does."""
    bounds = _make(identity, home, planned)
    try:
        yield bounds
    finally:
        if bounds.group is not None:
            bounds.group.remove()


def remove_left(identity: str, home: Path) -> None:
    """The group of a bottle whose keeper has died, with all that is in it."""
    where = cgroups.find()
    if where is not None:
        where.group(cgroups.name_of(identity, home)).remove()


def _make(identity: str, home: Path, planned: tuple[Limit, ...]) -> Bounds:
    said = {limit.name: limit for limit in planned if limit.enforced}
    memory = int(said["memory"].value.removesuffix("m")) << 20 if "memory" in said else None
    pids = int(said["pids"].value) if "pids" in said else None
    quarter = max(_TMP, allowance.memory_bytes() // 4)
    if not any(limit.by == CGROUP for limit in said.values()):
        return Bounds(pids, memory, tmp=quarter if memory is None else min(quarter, max(memory // 4, 1 << 20)))
    where = cgroups.find() or cgroups.Hierarchy((), unified=False)
    cpus = float(said["cpus"].value) if "cpus" in said else None
    group = cgroups.make(where, cgroups.name_of(identity, home), memory=memory, cpus=cpus)
    return Bounds(pids, memory if said["memory"].by == EACH else None, group, quarter)
