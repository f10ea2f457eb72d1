"""The fake backend: a place that is no place. Its bottles are programs of this host, as this user, unprotected.

What a backend must do is here in its smallest form: contribute to a plan and say what it does not protect, tell what it
needs, and launch, as a context whose end is the bottle's end. A real one adds what `launch` is for.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from claude_bottle.backend import tree
from claude_bottle.backend.base import Backend, Boot, Bottle, BottleSpec, Check, Outlet
from claude_bottle.backend.fake import layers
from claude_bottle.backend.fake.bottle import FakeBottle
from claude_bottle.errors import BottleError
from claude_bottle.model.plan import UNLIMITED, BottlePlan, Limit, Protection

if TYPE_CHECKING:
    from claude_bottle.harness.base import Progress
    from claude_bottle.manifest.bottle import Limits
    from claude_bottle.model.capability import Capability


class FakeBackend(Backend):
    """`fails`: the error that every launch ends with."""

    name = "fake"
    bottle = FakeBottle

    def __init__(self, fails: BottleError | None = None) -> None:
        self._fails = fails

    def prepare(self, spec: BottleSpec, *, stage_dir: Path) -> BottlePlan:
        from claude_bottle.backend import planning

        nothing = Protection("everything", "off", "the fake backend protects nothing")
        plan = planning.compose(spec, backend=self.name, image="this host", limits=limits, protections=(nothing,),
                                no_overlay=self.no_overlay)  # fmt: skip
        return planning.with_layers(self, spec, plan)

    def with_layer(self, plan: BottlePlan, capability: Capability) -> BottlePlan:
        return layers.with_layer(plan, capability)

    def build_layer(
        self, plan: BottlePlan, capability: Capability, progress: Progress, outlet: Outlet
    ) -> BottlePlan:  # fmt: skip
        return layers.build(plan, capability, progress)

    def check(self) -> list[Check]:
        return [Check("nothing", "ok", "it needs nothing")]

    def require(self) -> None:
        return

    @contextmanager
    def _launch(self, plan: BottlePlan, boot: Boot) -> Iterator[Bottle]:
        if self._fails:
            raise self._fails
        for mount in plan.mounts:
            if not Path(mount.source).exists():
                raise BottleError(f"cannot show {mount.source} in a bottle", why="it is not there")
        if boot.copy_from:
            tree.copy_into(boot.copy_from, boot.workspace)
        programs = layers.directories(plan)
        bottle = self.bottle(plan, boot)
        bottle.programs = [str(place) for place in programs]
        try:
            yield bottle
        finally:
            bottle.close()


def limits(_wanted: Limits) -> tuple[Limit, ...]:
    return tuple(Limit(name, UNLIMITED, enforced=False) for name in ("memory", "cpus", "pids", "disk"))
