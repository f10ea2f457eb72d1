"""The launch of a bottle apart, as a context: what of the plan can be shown on the engine's machine, start, and end.

As `DockerBackend.launch` for a gate on this host. On another machine there is nothing of this one's to mount, so a plan
that needs that is refused; Docker Desktop shows this machine's files in its own.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from claude_bottle.backend.base import GID, UID
from claude_bottle.backend.docker import apart, gate_container, owners, placement
from claude_bottle.backend.docker.apart_bottle import ApartBottle
from claude_bottle.backend.docker.backend import bottle_user, describe, real_sources
from claude_bottle.backend.docker.rundir import RunDir
from claude_bottle.errors import BottleError, EnvironmentLacks
from claude_bottle.state.paths import Paths

if TYPE_CHECKING:
    from claude_bottle.backend.base import Boot
    from claude_bottle.backend.docker.engine import Engine
    from claude_bottle.backend.docker.placement import Machine
    from claude_bottle.model.plan import BottlePlan, Mount


@contextmanager
def launched(engine: Engine, plan: BottlePlan, boot: Boot) -> Iterator[ApartBottle]:
    """See `Backend.launch`."""
    paths, owner = Paths.default(), owners.installation(Paths.default())
    owners.make_way(engine, owner, boot.identity)
    machine, run_dir = placement.machine(engine), RunDir(paths, boot.identity)
    mounts = _mounts(plan, boot, machine)
    run_dir.begin(engine.program)
    try:
        recipe = _recipe(engine, plan, boot, machine, run_dir, owner, mounts)
        attached = apart.start(engine, boot, recipe, run_dir)
    except BaseException:
        owners.take_back(engine, owner, boot.identity, run_dir)
        raise
    bottle = ApartBottle(plan, boot, attached, engine, owner, run_dir)
    try:
        yield bottle
    finally:
        bottle.close()
        if not bottle.used:
            bottle.release()  # nothing ran in it, so nothing is in it that did not come from here


def _recipe(
    engine: Engine, plan: BottlePlan, boot: Boot, machine: Machine, run_dir: RunDir, owner: str, mounts: tuple[Mount, ...]
) -> apart.Recipe:  # fmt: skip
    labels = owners.labels(boot.identity, owner, plan)
    uid, gid = bottle_user(plan) if machine.here else (UID, GID)
    container = describe(
        engine, plan, boot.identity, run_dir, labels=labels, files=run_dir.name_user(uid, gid), mounts=mounts,
        boot=boot, machine=machine, meeting=gate_container.shared(boot.identity, labels, readonly=True),
    )  # fmt: skip
    return apart.Recipe(container, uid, gid, machine.here, machine.unlimited != placement.ENFORCES.keys())


def _mounts(plan: BottlePlan, boot: Boot, machine: Machine) -> tuple[Mount, ...]:
    mounts = plan.mounts if plan.image_build else (*plan.mounts, *boot.mounts)
    if not machine.here and not machine.desktop and (mounts or plan.workspace.mode == "bind"):
        shown = mounts[0].source if mounts else plan.workspace.source
        raise EnvironmentLacks(
            f"{shown} cannot be shown in a bottle there", why="the engine runs on another machine",
            do="work on a copy (--cwd), or use an engine of this machine",
        )  # fmt: skip
    if machine.mapped and os.geteuid() != 0 and plan.workspace.mode == "bind":
        raise EnvironmentLacks(
            f"{plan.workspace.source} cannot be written in a bottle there",
            why="the engine gives its containers' users other ids than this host's", do="work on a copy (--cwd)",
        )  # fmt: skip
    # Another machine's view of a file cannot be compared with ours; what the operator named is looked at here at least.
    for mount in mounts:
        if not os.path.exists(mount.source):
            raise BottleError(f"cannot show {mount.source} in a bottle", why="it is not there")
    return real_sources(mounts)
