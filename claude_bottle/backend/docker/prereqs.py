"""What this machine must offer for container bottles, asked of the engine itself, and the exact fix for what it lacks.

`require` runs before every launch and asks one question; `check` is for `doctor` and asks the rest, weaker protections
included. Nothing here changes the machine, and no fix is ever "switch the protection off".
"""

from __future__ import annotations

import platform
import re
from typing import TYPE_CHECKING

from claude_bottle.backend.base import Check
from claude_bottle.backend.docker.placement import maps_users
from claude_bottle.errors import BottleError, EnvironmentLacks

if TYPE_CHECKING:
    from claude_bottle.backend.docker.engine import Engine

FLOOR = (20, 10)


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
    found = [Check(engine.program, "ok", f"{version}, {info.get('OperatingSystem')}")]
    for name, key in (("memory limit", "MemoryLimit"), ("process limit", "PidsLimit"), ("cpu limit", "CpuCfsQuota")):
        good = info.get(key) is not False
        found.append(Check(name, "ok" if good else "missing", "" if good else "the engine cannot enforce it",
                           "" if good else "boot with cgroup_enable=memory swapaccount=1"))  # fmt: skip
    seccomp = any("seccomp" in option for option in options)
    found.append(Check("seccomp", "ok" if seccomp else "missing", "" if seccomp else "the engine was built without it",
                       "" if seccomp else "install your distribution's docker engine"))  # fmt: skip
    found.append(_users(maps_users(info), anywhere))
    if str(info.get("CgroupVersion", "2")) == "1":
        found.append(Check("cgroups", "weaker", "version 1", "boot with systemd.unified_cgroup_hierarchy=1"))
    return found


def _users(mapped: bool, anywhere: bool) -> Check:
    """Whether its containers' users are this host's. Where they are not, a bottle whose gate runs here could neither be
    verified nor share files."""
    if not mapped:
        return Check("user namespace", "weaker", "the containers' uids are the host's; bottles never run as root",
                     "none with docker: an ordinary user's podman, and bubblewrap, have one")  # fmt: skip
    if anywhere:
        return Check("user namespace", "ok", "")
    return Check("user namespace", "missing", "the engine gives its containers' users other ids than this host's",
                 'say "gate": "auto" in config.json')


def absent(engine: Engine) -> Check | None:
    """What is told of an engine that is not installed: nobody needs all of them. None for one that is."""
    try:
        engine.require_client()
    except EnvironmentLacks as lacking:
        return Check(engine.program, "absent", "not installed: only needed for --backend " + engine.program, lacking.do)
    return None


def _numbers(version: object) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", str(version))[:2])
