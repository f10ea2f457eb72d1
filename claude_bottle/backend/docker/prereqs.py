"""What this machine must offer for container bottles, asked of the engine itself, and the exact fix for what it lacks.

`require` runs before every launch and asks one question; `check` is for `doctor` and asks the rest, weaker protections
included. Nothing here changes the machine, and no fix is ever "switch the protection off".
"""

from __future__ import annotations

import os
import platform
import re
from typing import TYPE_CHECKING

from claude_bottle.backend.base import Check
from claude_bottle.backend.docker.placement import ENFORCES, maps_users, rootless, unenforced
from claude_bottle.errors import BottleError, EnvironmentLacks

if TYPE_CHECKING:
    from typing import Any

    from claude_bottle.backend.docker.engine import Engine

FLOOR = (20, 10)
UNIFIED = "boot with systemd.unified_cgroup_hierarchy=1"
DELEGATE = (
    "sudo mkdir -p /etc/systemd/system/user@.service.d\n"
    "printf '[Service]\\nDelegate=cpu memory pids\\n' | sudo tee /etc/systemd/system/user@.service.d/delegate.conf\n"
    "sudo systemctl daemon-reload   and log in again"
)
_SHARED_IDS = Check("user namespace", "weaker", "the containers' uids are the host's; bottles never run as root",
                    "userns-remap or a rootless engine; an ordinary user's podman, and bubblewrap, have one")  # fmt: skip
_LIMITS = {"memory": "memory limit", "pids": "process limit", "cpus": "cpu limit"}


def require(engine: Engine, *, anywhere: bool = False) -> None:
    """EnvironmentLacks if no bottle can be started. `anywhere`: its containers need not run on this machine."""
    engine.require_client()
    server = engine.version()
    if _numbers(server.get("Version")) < FLOOR:
        wanted = ".".join(map(str, FLOOR))
        raise EnvironmentLacks(f"{engine.program} is too old", why=f"its engine is {server.get('Version')}",
                               do=f"install {engine.program} {wanted} or newer")  # fmt: skip
    if not anywhere and server.get("KernelVersion") not in (None, platform.release()):
        raise EnvironmentLacks(
            f"{engine.program}'s containers run on another machine",
            why=f"its kernel is {server['KernelVersion']}, this one's {platform.release()}",
            do='say "gate": "auto" in config.json, or use an engine of this machine: docker context use default',
        )
    if not anywhere and maps_users(engine.info()):
        # It could neither be verified nor share files.
        raise EnvironmentLacks(
            f"a gate on this host cannot serve {engine.program}'s containers",
            why="the engine gives their users other ids than this host's", do='say "gate": "auto" in config.json',
        )  # fmt: skip


def check(engine: Engine, *, anywhere: bool = False) -> list[Check]:
    """Every piece; the first that is missing ends the list."""
    if (nothing := absent(engine)) is not None:
        return [nothing]
    try:
        require(engine, anywhere=anywhere)
        info = engine.info()
    except BottleError as lacking:
        return [Check(engine.program, "missing", ": ".join(filter(None, (lacking.what, lacking.why))), lacking.do)]
    options = [str(option) for option in info.get("SecurityOptions") or ()]
    version = f"engine {info.get('ServerVersion')} (at least {'.'.join(map(str, FLOOR))})"
    whose = ", an ordinary user's own" if rootless(info) else ""
    found = [Check(engine.program, "ok", f"{version}{whose}, {info.get('OperatingSystem')}"), *_limits(info)]
    seccomp = any("seccomp" in option for option in options)
    found.append(Check("seccomp", "ok" if seccomp else "missing", "" if seccomp else "the engine was built without it",
                       "" if seccomp else "install your distribution's docker engine"))  # fmt: skip
    found.append(Check("user namespace", "ok", "") if maps_users(info) else _SHARED_IDS)
    if maps_users(info) and os.geteuid() != 0:
        found.append(Check("workspace", "weaker", "only a copy of a directory can be worked on: its owner is another there",
                           "--cwd; an ordinary user's podman, and bubblewrap, work on it directly"))  # fmt: skip
    if str(info.get("CgroupVersion", "2")) == "1":
        found.append(Check("cgroups", "weaker", "version 1", UNIFIED))
    return found


def _limits(info: dict[str, Any]) -> list[Check]:
    """Bottles start without what cannot be enforced, and their plan says so."""
    old, without = str(info.get("CgroupVersion", "2")) == "1", unenforced(info)
    why = "not enforced" + (": control groups of version 1 are root's" if old and rootless(info) else "")
    fix = UNIFIED if old and rootless(info) else DELEGATE if rootless(info) else "boot with cgroup_enable=memory"
    return [Check(_LIMITS[name], "weaker", why, fix) if name in without else Check(_LIMITS[name], "ok", "")
            for name in ENFORCES]  # fmt: skip


def absent(engine: Engine) -> Check | None:
    """What is told of an engine that is not installed: nobody needs all of them. None for one that is."""
    try:
        engine.require_client()
    except EnvironmentLacks as lacking:
        return Check(engine.program, "absent", "not installed: only needed for --backend " + engine.program, lacking.do)
    return None


def _numbers(version: object) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", str(version))[:2])
