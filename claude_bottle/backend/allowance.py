"""How much a bottle may use where its manifest says nothing: what keeps it from starving its machine, and no less.

The same on every backend, so that a plan does not depend on where a bottle runs; how it is enforced, a backend says.
Pure but for the size of this machine.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from claude_bottle.manifest.bottle import Limits

PIDS = 4096
# A kernel keeps a little more or less of the memory for itself after an upgrade; a plan's digest shall not change by it.
_STEP = 64 << 20


def amounts(wanted: Limits, processors: int = 0, memory: int = 0) -> dict[str, str]:
    """Memory, processors and processes of a bottle as a plan says them, in the units of `docker run`. `processors` and
    `memory` (bytes) are those of the machine it runs on; 0: of this one."""
    processors = processors or os.cpu_count() or 1
    share = (memory or memory_bytes()) * 3 // 4
    return {
        "memory": f"{(wanted.memory or share - share % _STEP or share) >> 20}m",
        "cpus": f"{min(wanted.cpus or processors, processors):g}",  # there is no more to have, and an engine refuses more
        "pids": str(wanted.pids or PIDS),
    }


def memory_bytes() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
