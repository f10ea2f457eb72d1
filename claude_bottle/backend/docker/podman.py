"""The podman backend: the docker backend over an engine without a daemon, root's or an ordinary user's own.

Words differ (`podman_engine`), and so does what this machine must have (`podman_prereqs`); launch, bottle, state and
cleaning are docker's. Its containers always share this kernel, so the gate runs on this host. An ordinary user's bottle
runs as that user in a user namespace of its own, whose uid 0 is one of their subordinate ids: never root of the host.
"""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from claude_bottle.backend.docker import images, podman_prereqs, protections
from claude_bottle.backend.docker.backend import DockerBackend
from claude_bottle.backend.docker.podman_engine import PROGRAM, Podman
from claude_bottle.errors import BottleError
from claude_bottle.model.plan import Limit, Protection
from claude_bottle.state.paths import Paths
from claude_bottle.values import replace

if TYPE_CHECKING:
    from claude_bottle.backend.base import BottleSpec, Check
    from claude_bottle.backend.docker.rundir import RunDir
    from claude_bottle.manifest.bottle import Limits
    from claude_bottle.model.plan import BottlePlan

# Limit → the controller of the kernel that enforces it.
_CONTROLLERS = {"memory": "memory", "cpus": "cpu", "pids": "pids"}


class PodmanBackend(DockerBackend):
    name = program = PROGRAM

    def __init__(self) -> None:
        self._engine: Podman = Podman()

    def prepare(self, spec: BottleSpec, *, stage_dir: Path) -> BottlePlan:
        from claude_bottle.backend import planning

        recipes = images.recipes_for(spec, Paths.default())
        try:
            controllers = podman_prereqs.controllers(self._engine.info())
        except BottleError:
            controllers = frozenset(_CONTROLLERS.values())  # its launch will tell what it lacks
        plan = planning.compose(
            spec,
            backend=self.name,
            image=recipes[-1].tag,
            limits=partial(limits, controllers=controllers),
            protections=_protections(),
            image_build=tuple(recipe.to_dict() for recipe in recipes),
            no_overlay=self.no_overlay,
        )
        return planning.with_layers(self, spec, plan)

    def check(self) -> list[Check]:
        return podman_prereqs.check(self._engine)

    def require(self) -> None:
        podman_prereqs.require(self._engine)

    def _files(self, run_dir: RunDir, uid: int, gid: int) -> tuple[tuple[str, str], ...]:
        return (*super()._files(run_dir, uid, gid), *run_dir.name_hosts())


def limits(wanted: Limits, controllers: frozenset[str]) -> tuple[Limit, ...]:
    """As everywhere; what the kernel's `controllers` do not cover here is not enforced."""
    return tuple(
        limit if _CONTROLLERS.get(limit.name, "") in controllers else replace(limit, enforced=False, by="")
        for limit in protections.limits(wanted)
    )


def _protections() -> tuple[Protection, ...]:
    if os.geteuid() == 0:
        return protections.protections()
    return (*protections.protections(), Protection("own user namespace", "on"))
