"""What protects a container bottle, and what it may use, in words for the plan.

Every line names a layer that is set up for each launch or the launch fails; "weaker" says what is missing beside the
ideal and why. Pure data but for the size of this machine, which the default limits follow.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from claude_bottle.backend import allowance, layers
from claude_bottle.model.plan import UNLIMITED, Limit, Protection

if TYPE_CHECKING:
    from claude_bottle.backend.docker.placement import Machine
    from claude_bottle.manifest.bottle import Limits

HERE, BESIDE = "on this host", "in a container of its own, beside the bottle's"


def protections(gate: str = HERE, machine: Machine | None = None) -> tuple[Protection, ...]:
    """The protections of a bottle; `gate` says where its gate runs, `machine` where that is not simply here."""
    mapped = machine is not None and machine.mapped
    own = layers.own_user(root=mapped or os.geteuid() == 0)
    spaces = (Protection("own user namespace", "on"),) if mapped else ()
    return (*layers.EVERYWHERE, own, *spaces, Protection("own kernel", "off", "the engine shares the host's kernel"),
            Protection("gate", "on", gate))  # fmt: skip


def limits(wanted: Limits, machine: Machine | None = None) -> tuple[Limit, ...]:
    """What the manifest says; for what it does not say, what keeps a bottle from starving its machine: this one, or the
    one its engine runs on. What the engine there cannot enforce is said not to be."""
    values = allowance.amounts(wanted, *((machine.processors, machine.memory) if machine else ()))
    unlimited = machine.unlimited if machine else frozenset()
    found = [Limit(name, value, enforced=name not in unlimited, by="" if name in unlimited else "cgroup")
             for name, value in values.items()]  # fmt: skip
    return (*found, Limit("disk", UNLIMITED, enforced=False))


def tmp_bytes(memory: int = 0) -> int:
    """How much each of the bottle's private tmpfs may hold: a quarter of the machine's `memory` (0: of this one's)."""
    return max(256 << 20, (memory or allowance.memory_bytes()) // 4)
