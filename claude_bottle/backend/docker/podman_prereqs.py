"""What this machine must offer for podman's bottles, asked of podman itself, and the exact fix for what it lacks.

Podman answers everything to one question (`podman info`), before every launch too. What is weaker than it could be
(limits that an ordinary user may not set, a kernel of old control groups, a slow storage driver) is told by `doctor` and,
as far as it concerns a bottle, by its plan. Nothing here changes the machine.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Any

from claude_bottle.backend.base import Check
from claude_bottle.backend.docker.prereqs import DELEGATE, UNIFIED, absent
from claude_bottle.errors import BottleError, EnvironmentLacks

if TYPE_CHECKING:
    from claude_bottle.backend.docker.podman_engine import Podman

FLOOR = (4, 0)
# So many ids an ordinary user needs beside their own, for the users of an image.
_IDS = 65536
_NEEDED = (("memory limit", "memory"), ("process limit", "pids"), ("cpu limit", "cpu"))
_SUBORDINATE = "sudo usermod --add-subuids 100000-165535 --add-subgids 100000-165535 $USER && podman system migrate"

Info = dict[str, Any]


def require(engine: Podman) -> None:
    """EnvironmentLacks if no bottle can be started."""
    _demand(engine.info())


def controllers(found: Info) -> frozenset[str]:
    """The controllers of the kernel that podman may use."""
    return frozenset(_of(found, "host", "cgroupControllers") or ())


def check(engine: Podman) -> list[Check]:
    """Every piece; the first that is missing ends the list."""
    if (nothing := absent(engine)) is not None:
        return [nothing]
    try:
        found = engine.info()
        _demand(found)
    except BottleError as lacking:
        return [Check(engine.program, "missing", ": ".join(filter(None, (lacking.what, lacking.why))), lacking.do)]
    whose = "an ordinary user's own" if _rootless(found) else "root's"
    runtime, driver = _of(found, "host", "ociRuntime", "name"), _of(found, "store", "graphDriverName")
    told = f"{_version(found)} (at least {'.'.join(map(str, FLOOR))}), {whose}, {runtime}, {driver}"
    checks = [Check(engine.program, "ok", told), *_limits(found)]
    checks.append(Check("seccomp", "ok", ""))
    checks.append(
        Check("user namespace", "ok", "a bottle's root would be one of your subordinate ids") if _rootless(found)
        else Check("user namespace", "weaker", "the containers' uids are the host's; bottles never run as root",
                   "start bottles as an ordinary user")
    )  # fmt: skip
    if driver == "vfs":
        checks.append(Check("storage", "weaker", "driver vfs copies an image for every bottle",
                            "set driver = \"overlay\" in storage.conf, then: podman system reset"))  # fmt: skip
    if _of(found, "host", "security", "selinuxEnabled"):
        checks.append(Check("selinux", "weaker", "does not confine bottles: it would keep them from their gate",
                            "none: every other layer is in force"))  # fmt: skip
    return checks


def _demand(found: Info) -> None:
    version = _version(found)
    if tuple(int(number) for number in re.findall(r"\d+", version)[:2]) < FLOOR:
        raise EnvironmentLacks("podman is too old", why=f"it is {version or 'of an unknown version'}",
                               do=f"install podman {'.'.join(map(str, FLOOR))} or newer")  # fmt: skip
    if _of(found, "host", "serviceIsRemote"):
        raise EnvironmentLacks("podman's containers run on another machine", why="its client is set to a remote service",
                               do="unset CONTAINER_HOST CONTAINER_CONNECTION")  # fmt: skip
    if not _of(found, "host", "security", "seccompEnabled"):
        raise EnvironmentLacks("podman cannot filter system calls", why="it was built without seccomp",
                               do="install your distribution's podman")  # fmt: skip
    ids = sum(int(one.get("size", 0)) for one in _of(found, "host", "idMappings", "uidmap") or ())
    if _rootless(found) and ids < _IDS:
        raise EnvironmentLacks("podman has no user ids for an ordinary user's containers",
                               why="/etc/subuid and /etc/subgid grant you too few, or newuidmap is not installed",
                               do=f"sudo apt install uidmap && {_SUBORDINATE}")  # fmt: skip


def _limits(found: Info) -> list[Check]:
    given, old = controllers(found), _of(found, "host", "cgroupVersion") == "v1"
    fix = UNIFIED if old else DELEGATE if _rootless(found) else "boot with cgroup_enable=memory"
    checks = [
        Check(name, "ok", "") if wanted in given
        else Check(name, "weaker", "not enforced" + (": control groups of version 1 are root's" if old else ""), fix)
        for name, wanted in _NEEDED
    ]  # fmt: skip
    if old:
        checks.append(Check("cgroups", "weaker", "version 1", UNIFIED))
    return checks


def _rootless(found: Info) -> bool:
    return bool(_of(found, "host", "security", "rootless")) or os.geteuid() != 0


def _version(found: Info) -> str:
    return str(_of(found, "version", "Version") or "")


def _of(found: Any, *path: str) -> Any:
    for name in path:
        found = found.get(name) if isinstance(found, dict) else None
    return found
