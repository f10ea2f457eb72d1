"""Whether a container has met its memory limit.

While it runs the kernel counts it for the container's control group, in a file that anybody may read; once that is gone
(what fills a tmpfs takes the first process along) the engine still tells of it among its events. False wherever neither
is to be known.
"""

from __future__ import annotations

import select
import time
from pathlib import Path
from typing import TYPE_CHECKING

from claude_bottle.backend.standstill import stat_fields
from claude_bottle.errors import BottleError

if TYPE_CHECKING:
    from claude_bottle.backend.docker.engine import Engine

_MOUNTS = Path("/sys/fs/cgroup")
# A first process that is killed closes its programs' sockets a moment before it is gone, which it is when all the others
# are; how long that takes is up to this machine. Where it cannot be looked at, no more than a glance.
_DYING_SECONDS, _GLANCE_SECONDS = 10.0, 0.3
_ENGINE_SECONDS = 10.0
_PF_EXITING = 0x4  # linux/sched.h


def met_limit(engine: Engine, container: str, first: int, ended: int) -> bool:
    """`container`: its id; `first`: its first process here, 0 where there is none; `ended` becomes readable when the
    container has ended."""
    if first > 0 and _counted(container, first):
        return True
    wait = (_DYING_SECONDS if _ending(first) else 0.0) if first > 0 else _GLANCE_SECONDS
    if not select.select([ended], [], [], wait)[0]:
        return False
    # An engine remembers its last 256 events. The end is long past for it by the next second.
    words = ["events", "--since=1", f"--until={int(time.time()) + 1}", "--format={{.Status}}",
             f"--filter=container={container}", "--filter=event=oom"]  # fmt: skip
    try:
        return engine.run(words, check=False, timeout=_ENGINE_SECONDS).out.strip() != b""
    except BottleError:
        return False


def _ending(process: int) -> bool:
    """Whether it runs no more, though it may not be gone yet."""
    try:
        return bool(int(stat_fields(process)[6]) & _PF_EXITING)
    except OSError:
        return True


def _counted(container: str, process: int) -> bool:
    try:
        lines = Path(f"/proc/{process}/cgroup").read_text().splitlines()
    except OSError:
        return False
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if container not in path:  # what is ending is in its group no more
            continue
        if controllers == "memory" and _kills(_MOUNTS / "memory" / path.lstrip("/") / "memory.oom_control"):
            return True
        if controllers == "" and _kills(_MOUNTS / path.lstrip("/") / "memory.events"):
            return True
    return False


def _kills(file: Path) -> bool:
    """Whether the line `oom_kill N` counts any."""
    try:
        counted = dict(line.split() for line in file.read_text().splitlines())
    except (OSError, ValueError):
        return False
    return counted.get("oom_kill", "0") != "0"
