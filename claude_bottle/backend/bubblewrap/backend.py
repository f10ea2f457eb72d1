"""The bubblewrap backend: bottles without a daemon and without root, on any recent Linux.

The place's side of the contract: what it contributes to a plan, whether it works here, and a launch as a
context. How a sandbox is built is `launcher`, how programs get in is `enter`; this module only ties them
together.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from claude_bottle.backend import overlay, tree
from claude_bottle.backend.base import Backend, Boot, Bottle, BottleSpec, Check, Images, Outlet
from claude_bottle.backend.bubblewrap import bounds, launcher, orphans, owners, prereqs, programs, seccomp
from claude_bottle.backend.bubblewrap.bottle import BubblewrapBottle
from claude_bottle.backend.bubblewrap.layer_overlay import Pile
from claude_bottle.backend.bubblewrap.protections import protections, supplementary_groups
from claude_bottle.errors import BottleError
from claude_bottle.model.plan import BottlePlan, Workspace
from claude_bottle.values import replace

if TYPE_CHECKING:
    from claude_bottle.backend import subids
    from claude_bottle.harness.base import Progress
    from claude_bottle.model.capability import Capability

IMAGE = "this host's /usr, read-only"


class BubblewrapBackend(Backend):
    name = "bubblewrap"

    def prepare(self, spec: BottleSpec, *, stage_dir: Path) -> BottlePlan:
        from claude_bottle.backend import planning

        plan = planning.compose(
            spec,
            backend=self.name,
            image=IMAGE,
            limits=bounds.limits,
            protections=protections(root=os.geteuid() == 0, groups=supplementary_groups()),
            no_overlay=self.no_overlay,
        )
        return planning.with_layers(self, spec, plan)

    def no_overlay(self, source: str, state_root: str) -> str:
        return overlay.why_not(source, state_root)

    def check(self) -> list[Check]:
        return prereqs.check(self._trial)

    def require(self) -> None:
        prereqs.require()

    def with_layer(self, plan: BottlePlan, capability: Capability) -> BottlePlan:
        from claude_bottle.backend.bubblewrap import layers

        return layers.with_layer(plan, capability)

    def build_layer(
        self, plan: BottlePlan, capability: Capability, progress: Progress, outlet: Outlet
    ) -> BottlePlan:  # fmt: skip
        from claude_bottle.backend.bubblewrap import layers

        return layers.build_layer(plan, capability, progress, outlet, self._on)

    def images(self) -> Images:
        from claude_bottle.backend.bubblewrap.layers import BuiltLayers

        return BuiltLayers()

    @contextmanager
    def _launch(self, plan: BottlePlan, boot: Boot) -> Iterator[Bottle]:
        pile: tuple[Path, ...] = ()
        if plan.layers:
            from claude_bottle.backend.bubblewrap import layers

            pile = layers.pile(plan)
        with self._on(plan, boot, Pile.of(pile), None) as bottle:
            yield bottle

    @contextmanager
    def _on(self, plan: BottlePlan, boot: Boot, pile: Pile, ids: subids.Range | None) -> Iterator[Bottle]:
        host = (ids.user if ids else owners.host_uid(boot.identity)) if os.geteuid() == 0 else None
        program = seccomp.filter_program(build=ids is not None)
        everything = replace(boot, mounts=(*plan.mounts, *boot.mounts))
        if boot.copy_from:
            tree.copy_into(boot.copy_from, boot.workspace)
        with bounds.held(boot.identity, boot.home, plan.limits) as held:
            recipe = launcher.Recipe(programs.find_programs(), program, host, pile, held, ids)
            bottle = BubblewrapBottle(boot.identity, plan, launcher.start(everything, recipe), recipe)
            try:
                yield bottle
            finally:
                bottle.close()

    def recover(self, identity: str, home: Path, workspace: Path) -> None:
        orphans.end_left_with(home)
        bounds.remove_left(identity, home)

    def _trial(self) -> None:
        import tempfile

        with tempfile.TemporaryDirectory(prefix="claude-bottle-") as name:
            place = Path(os.path.realpath(name))
            home, workspace = place / "home", place / "workspace"
            home.mkdir()
            workspace.mkdir()
            plan = BottlePlan("doctor", "doctor", "", "", self.name, IMAGE, (), Workspace("none", "/workspace"))
            with self.launch(plan, boot=Boot("doctor", home, workspace)) as bottle:
                code = bottle.exec(["true"], env={"PATH": "/usr/bin:/bin"})
            if code != 0:
                raise BottleError("the trial bottle did not run a program", why=f"true ended with {code}")

