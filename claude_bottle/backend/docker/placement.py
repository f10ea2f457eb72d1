"""Where the gate of a container bottle runs: on this host where the engine's containers do, else beside the bottle.

A gate on this host takes the bottle's listeners as descriptors, which only works where both share a kernel and a
directory. The operator may say which (`"gate"` in config.json); `auto` asks the engine, and the plan shows the answer.
Asks, and changes nothing.
"""

from __future__ import annotations

import json
import platform
from typing import TYPE_CHECKING, Any, NamedTuple

from claude_bottle.errors import BottleError

if TYPE_CHECKING:
    from claude_bottle.backend.docker.engine import Engine

HOST, CONTAINER = "host", "container"
# Limit → what an engine calls its being able to enforce it.
ENFORCES = {"memory": "MemoryLimit", "pids": "PidsLimit", "cpus": "CpuCfsQuota"}
_SECONDS = 20


class Machine(NamedTuple):
    """Where an engine's containers run. `here`: on this very kernel, reached by a socket of this machine; the numbers are
    0 where they are this machine's. `desktop`: in a virtual machine that shows this one's files. `mapped`: its
    containers' users have other ids here. `unlimited`: the names of the limits that the engine cannot enforce."""

    here: bool
    desktop: bool = False
    processors: int = 0
    memory: int = 0
    mapped: bool = False
    unlimited: frozenset[str] = frozenset()


def gate_place(engine: Engine, wanted: str) -> str:
    """HOST or CONTAINER, for the operator's setting `wanted`. Beside a gate on this host a bottle's user is verified as one
    of this host."""
    if wanted in (HOST, CONTAINER):
        return wanted
    where = machine(engine)
    return HOST if where.here and not where.mapped else CONTAINER


def machine(engine: Engine) -> Machine:
    """An engine that does not answer counts as this machine's: what it lacks is told when it is needed."""
    if engine.program != "docker":
        return Machine(here=True)  # one without a daemon
    local = _is_local(engine)
    if local is None:
        return Machine(here=True)
    try:
        version = engine.version()
    except BottleError:
        return Machine(here=local)
    desktop = "Desktop" in str((version.get("Platform") or {}).get("Name"))
    here = bool(local and not desktop and version.get("KernelVersion") in (None, platform.release()))
    try:
        info = engine.info()
    except BottleError:
        info = {}  # its launch will tell
    if here:
        return Machine(here=True, mapped=maps_users(info), unlimited=unenforced(info))
    return Machine(False, desktop, int(info.get("NCPU") or 0), int(info.get("MemTotal") or 0), unlimited=unenforced(info))


def maps_users(info: dict[str, Any]) -> bool:
    """Whether an engine that says this of itself gives its containers' users other ids: by a remap, or since it has none
    but its user's."""
    return rootless(info) or any("userns" in str(option) for option in info.get("SecurityOptions") or ())


def rootless(info: dict[str, Any]) -> bool:
    """Whether an engine that says this of itself is an ordinary user's own."""
    return any("rootless" in str(option) for option in info.get("SecurityOptions") or ())


def unenforced(info: dict[str, Any]) -> frozenset[str]:
    """The limits that an engine which says this of itself leaves out of what it is asked for: one of an ordinary user's
    where control groups are root's, or on a kernel without a controller."""
    return frozenset(limit for limit, key in ENFORCES.items() if info.get(key) is False)


def _is_local(engine: Engine) -> bool | None:
    """Whether the client reaches its engine by a socket of this machine; None where it cannot be asked at all."""
    from claude_bottle.backend.docker import endpoint

    if endpoint.local_socket() is not None:
        return True
    words = ["context", "inspect", "--format={{json .Endpoints.docker.Host}}"]
    try:
        said = engine.run(words, timeout=_SECONDS, check=False)
        host = json.loads(said.out) if said.code == 0 else ""
    except (BottleError, ValueError):
        return None
    return not host or str(host).startswith("unix://")
