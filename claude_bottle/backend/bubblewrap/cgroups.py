"""A control group for one bottle, where this host lets us make one: the memory and the processors of all its programs.

Root makes it at the top of the hierarchy, as engines do; an ordinary user in a group that has been delegated to them and
that we run below (cgroups(7), "Delegation containment"). Nothing else of the hierarchy is changed, but that root turns a
controller on at its top. A group is a directory, named by identity and home, so that what a dead keeper left is found.
"""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path

from claude_bottle.backend import idmaps
from claude_bottle.digests import sha256
from claude_bottle.errors import EnvironmentLacks
from claude_bottle.values import dataclass

MEMORY, CPU = "memory", "cpu"
_PERIOD = 100_000
# A group is busy for a moment after its last process has been collected.
_TRIES, _PAUSE = 200, 0.005


@dataclass(frozen=True)
class Hierarchy:
    """Where groups can be made: the directory for each controller. `unified`: version 2, one directory for all."""

    parents: tuple[tuple[str, str], ...]
    unified: bool

    def has(self, controller: str) -> bool:
        return any(name == controller for name, _ in self.parents)

    def group(self, name: str) -> Group:
        return Group(tuple(dict.fromkeys(f"{parent}/{name}" for _, parent in self.parents)))


@dataclass(frozen=True)
class Group:
    """One that exists. `directories` are its own, one in each hierarchy."""

    directories: tuple[str, ...]

    def enter(self) -> None:
        """Put the calling process, which has one thread, in. What it begets is in it, too, and nothing inside can leave."""
        for directory in self.directories:
            # A thread that moves itself is spared the lock over all processes, which costs 10 ms. Only version 1 lets it.
            alone = f"{directory}/tasks"
            idmaps.write(alone if os.path.exists(alone) else f"{directory}/cgroup.procs", "0")

    def holds(self, process: int) -> bool:
        """Whether a process of this host is in it, as the kernel tells."""
        said = Path(f"/proc/{process}/cgroup").read_text()
        return all(f"/{os.path.basename(directory)}\n" in said for directory in self.directories)

    def out_of_memory(self) -> bool:
        """Whether the kernel has ended a process in it for want of memory."""
        for directory in self.directories:
            for name in ("memory.events", "memory.oom_control"):
                with contextlib.suppress(OSError):
                    if "\noom_kill " in (text := Path(directory, name).read_text()) and "\noom_kill 0\n" not in text:
                        return True
        return False

    def remove(self) -> None:
        """It is gone afterwards, unless something is still in it that no signal ends."""
        for directory in self.directories:
            with contextlib.suppress(OSError):
                idmaps.write(f"{directory}/cgroup.kill", "1")
            for _ in range(_TRIES):
                try:
                    os.rmdir(directory)
                except FileNotFoundError:
                    break
                except OSError:
                    time.sleep(_PAUSE)
                else:
                    break


def name_of(identity: str, home: Path) -> str:
    return f"claude-bottle-{identity}-{sha256(bytes(home)).hexdigest()[:8]}"


def find() -> Hierarchy | None:
    """Where we can make groups; None if nowhere. Changes nothing."""
    try:
        own, mounts = Path("/proc/self/cgroup").read_text(), Path("/proc/self/mountinfo").read_text()
    except OSError:
        return None
    return find_in(own, mounts)


def find_in(own: str, mounts: str) -> Hierarchy | None:
    """The same for what /proc says (cgroups(7), proc_pid_mountinfo(5))."""
    unified, old = _mounted(mounts)
    parent = _parent_in(unified, _path_in(own, unified)) if unified else None
    if parent is not None:
        return Hierarchy(tuple((one, parent[0]) for one in parent[1]), unified=True)
    found = [(one, old[one]) for one in (MEMORY, CPU) if one in old and os.geteuid() == 0 and _ours(old[one])]
    return Hierarchy(tuple(found), unified=False) if found else None


def make(where: Hierarchy, name: str, *, memory: int | None, cpus: float | None) -> Group:
    """A group with these limits (bytes, processors). EnvironmentLacks when that fails; nothing is left then."""
    group = where.group(name)
    try:
        if where.unified and (missing := [one for one, parent in where.parents if one not in _controlled(parent)]):
            idmaps.write(f"{where.parents[0][1]}/cgroup.subtree_control", " ".join(f"+{one}" for one in missing))
        for directory in group.directories:
            with contextlib.suppress(FileExistsError):  # a dead keeper's, and empty
                os.mkdir(directory, 0o755)
        for controller, parent in where.parents:
            _limit(f"{parent}/{name}", controller, where.unified, memory, cpus)
    except OSError as failure:
        group.remove()
        raise EnvironmentLacks("cannot limit what the bottle uses", why=f"{failure.strerror} ({failure.filename})",
                               do="run: claude-bottle doctor") from failure  # fmt: skip
    return group


def _limit(directory: str, controller: str, unified: bool, memory: int | None, cpus: float | None) -> None:
    if controller == MEMORY and memory is not None:
        idmaps.write(f"{directory}/{'memory.max' if unified else 'memory.limit_in_bytes'}", str(memory))
        swap = f"{directory}/{'memory.swap.max' if unified else 'memory.memsw.limit_in_bytes'}"
        if os.path.exists(swap):  # else this kernel does not count it
            idmaps.write(swap, "0" if unified else str(memory))
    if controller == CPU and cpus is not None:
        quota = max(1000, int(cpus * _PERIOD))
        if unified:
            idmaps.write(f"{directory}/cpu.max", f"{quota} {_PERIOD}")
        else:
            idmaps.write(f"{directory}/cpu.cfs_period_us", str(_PERIOD))
            idmaps.write(f"{directory}/cpu.cfs_quota_us", str(quota))


def _mounted(mounts: str) -> tuple[str, dict[str, str]]:
    """Where version 2 is mounted ("" for nowhere), and each controller of version 1."""
    unified = ""
    old: dict[str, str] = {}
    for line in mounts.splitlines():
        before, _, after = line.partition(" - ")
        target, kind = before.split()[4], after.split()
        if kind[:1] == ["cgroup2"]:
            unified = unified or target
        elif kind[:1] == ["cgroup"] and len(kind) > 2:
            old |= {one: target for one in kind[2].split(",") if one in (MEMORY, CPU)}
    return unified, old


def _path_in(own: str, mount: str) -> str:
    """Our group's directory; the top where we are outside of what is mounted."""
    path = next((line[3:] for line in own.splitlines() if line.startswith("0::/")), "/")
    return mount if path == "/" or "/../" in f"{path}/" else mount + path


def _parent_in(mount: str, own: str) -> tuple[str, tuple[str, ...]] | None:
    """The directory for our groups, and its controllers: of those above us that have the most, the nearest."""
    best: tuple[str, tuple[str, ...]] | None = None
    directory = own
    while directory.startswith(mount):
        if _ours(directory):
            given = _controlled(directory)
            # The true top of a hierarchy, which alone has no type, may hold processes and give controllers at once.
            if os.geteuid() == 0 and directory == mount and not os.path.exists(f"{directory}/cgroup.type"):
                given |= _words(f"{directory}/cgroup.controllers")
            usable = tuple(one for one in (MEMORY, CPU) if one in given)
            if usable and (best is None or len(usable) > len(best[1])):
                best = (directory, usable)
        directory = os.path.dirname(directory)
    return best


def _ours(directory: str) -> bool:
    return os.access(directory, os.W_OK) and os.access(f"{directory}/cgroup.procs", os.W_OK)


def _controlled(directory: str) -> set[str]:
    return _words(f"{directory}/cgroup.subtree_control")


def _words(file: str) -> set[str]:
    try:
        return set(Path(file).read_text().split())
    except OSError:
        return set()
