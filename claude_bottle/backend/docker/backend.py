"""The docker backend: bottles as containers without a network, for whoever has an engine.

The place's side of the contract: what it contributes to a plan, whether it works here, a launch as a context, and what
a dead keeper left behind. How a container is built is `argv` and `launcher`, how programs get in is `bottle`; this
module only ties them together. It touches only objects that carry this installation's label.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from claude_bottle.backend.base import (
    GID,
    UID,
    Backend,
    Begun,
    Boot,
    Bottle,
    BottleSpec,
    Check,
    GateCommand,
    Images,
    Outlet,
)
from claude_bottle.backend.docker import (
    argv,
    begun,
    gate_container,
    graft,
    images,
    owners,
    placement,
    prereqs,
    protections,
    starting,
)
from claude_bottle.backend.docker.begun import Underway
from claude_bottle.backend.docker.engine import Engine, client_env
from claude_bottle.backend.docker.placement import Machine
from claude_bottle.backend.docker.recipe import Recipe
from claude_bottle.backend.docker.rundir import RunDir
from claude_bottle.errors import BottleError
from claude_bottle.harness.base import Progress
from claude_bottle.model.plan import BottlePlan, Mount
from claude_bottle.state.config import Settings
from claude_bottle.state.paths import Paths

if TYPE_CHECKING:
    from claude_bottle.model.capability import Capability

SECCOMP = Path(__file__).with_name("seccomp.json")


class DockerBackend(Backend):
    name = "docker"
    program = "docker"
    snapshot_seconds = 1.0

    def __init__(self) -> None:
        self._engine = Engine(self.program)

    def foresee(self) -> None:
        self._engine.foresee()

    def prepare(self, spec: BottleSpec, *, stage_dir: Path) -> BottlePlan:
        from claude_bottle.backend import planning

        paths = Paths.default()
        recipes = images.recipes_for(spec, paths)
        if spec.headless:  # nobody takes his time to read the plan
            images.foresee(self._engine, recipes)
        machine = placement.machine(self._engine)
        gate: tuple[Recipe, ...] = ()
        if self._gate_place() == placement.CONTAINER:
            from claude_bottle.backend.docker import gate_image

            gate = gate_image.beside(recipes, paths)
        plan = planning.compose(
            spec,
            backend=self.name,
            image=recipes[-1].tag,
            limits=partial(protections.limits, machine=machine),
            protections=protections.protections(protections.BESIDE if gate else protections.HERE, machine),
            image_build=tuple(recipe.to_dict() for recipe in (*recipes, *gate)),
            no_overlay=self.no_overlay,
        )
        return planning.with_layers(self, spec, plan)

    def provide(self, spec: BottleSpec, plan: BottlePlan, progress: Progress) -> None:
        paths = Paths.default()
        paths.ensure_root()
        recipes = images.recipes_for(spec, paths)
        images.build(self._engine, recipes, paths.root, progress)
        if gate_container.image_of(plan):
            from claude_bottle.backend.docker import gate_image

            images.build(self._engine, gate_image.beside(recipes, paths), paths.root, progress)

    def with_layer(self, plan: BottlePlan, capability: Capability) -> BottlePlan:
        from claude_bottle.backend.docker import layers

        return layers.with_layer(plan, capability)

    def below(self, plan: BottlePlan, count: int) -> BottlePlan:
        from claude_bottle.backend.docker import layers

        return layers.below(plan, count)

    def build_layer(
        self, plan: BottlePlan, capability: Capability, progress: Progress, outlet: Outlet
    ) -> BottlePlan:  # fmt: skip
        from claude_bottle.backend.docker import layers

        return layers.build_layer(self._engine, plan, capability, progress)

    def images(self) -> Images:
        return images.EngineImages(self._engine)

    def no_overlay(self, source: str, state_root: str) -> str:
        if os.geteuid() != 0:
            return "in a container only root can have one"
        if self._gate_place() == placement.CONTAINER:
            return "its gate runs in a container, so its files may lie elsewhere"
        from claude_bottle.backend import overlay

        return overlay.why_not(source, state_root)

    def check(self) -> list[Check]:
        return prereqs.check(self._engine, anywhere=self._gate_place() == placement.CONTAINER)

    def require(self) -> None:
        prereqs.require(self._engine, anywhere=self._gate_place() == placement.CONTAINER)

    def _gate_place(self) -> str:
        return placement.gate_place(self._engine, Settings.load(Paths.default()).gate)

    def gate_command(self, plan: BottlePlan) -> GateCommand | None:
        image = gate_container.image_of(plan)
        if image is None:
            return None
        labels = owners.labels(plan.slug, owners.installation(Paths.default()), plan)
        words = gate_container.words(plan.slug, image, labels, str(SECCOMP))
        return GateCommand((self.program, *words), client_env(), (self.program, *gate_container.line(plan.slug)))

    def end_gate(self, plan: BottlePlan) -> None:
        gate_container.remove(self._engine, owners.installation(Paths.default()), plan.slug)

    def begin(self, plan: BottlePlan, mounts: tuple[Mount, ...]) -> Begun | None:
        if gate_container.image_of(plan) or self._engine.interface is None:
            return None
        if plan.workspace.mode == "bind" and not graft.needed(plan.workspace.source):
            return None  # its guards are mounts, and only its keeper knows them
        try:
            return self._begin(plan, mounts, plan.slug, early=True)
        except starting.NeedsClient:
            return None

    def _begin(
        self, plan: BottlePlan, mounts: tuple[Mount, ...], identity: str, *, boot: Boot | None = None, early: bool = False
    ) -> Underway:  # fmt: skip
        owner, run_dir = owners.installation(Paths.default()), RunDir(Paths.default(), identity)
        uid, gid = bottle_user(plan)

        def recipe(nonce: str) -> begun.Recipe:
            # A planned image has the agent program in it already.
            shown = real_sources(plan.mounts if plan.image_build else (*plan.mounts, *mounts))
            labels, files = owners.labels(identity, owner, plan), self._files(run_dir, uid, gid)
            container = describe(self._engine, plan, identity, run_dir, labels=labels, files=files, mounts=shown, boot=boot)
            return begun.Recipe(container, nonce, uid, gid)

        if early:
            owners.foresee(self._engine, identity, plan.image)
        return begun.begin(self._engine, owner, identity, run_dir, recipe, early=early)

    @contextmanager
    def _launch(self, plan: BottlePlan, boot: Boot) -> Iterator[Bottle]:
        if gate_container.image_of(plan):
            from claude_bottle.backend.docker import apart_launch

            with apart_launch.launched(self._engine, plan, boot) as apart:
                yield apart
            return
        from claude_bottle.backend.docker import launcher
        from claude_bottle.backend.docker.bottle import DockerBottle

        way = boot.begun if isinstance(boot.begun, Underway) else self._begin(plan, boot.mounts, boot.identity, boot=boot)
        asked = way.take()
        try:
            with asked.listener:
                sandbox = launcher.complete(self._engine, boot, asked)
        except BaseException:
            way.take_back()
            raise
        bottle = DockerBottle(plan, boot, sandbox, self._engine, way.owner, asked.run_dir)
        try:
            yield bottle
        finally:
            bottle.close()
            if not bottle.used:
                bottle.release()  # nothing ran in it, so nothing is in it that did not come from here

    def fetch_work(self, identity: str, place: Path) -> None:
        from claude_bottle.backend.docker import reader

        if notes := reader.bring(self._engine, [reader.Volume(f"{owners.container_name(identity)}-work", place)]):
            from claude_bottle.backend.tree import left_out

            # What is not there would look as if the agent had removed it, and `apply` would do the same.
            raise BottleError(f"not all of the work of {identity} can be read while it runs", why=left_out(notes),
                              do=f"remove that in it, or end it: claude-bottle stop {identity}")  # fmt: skip

    def recover(self, identity: str, home: Path, workspace: Path) -> None:
        from claude_bottle.backend.docker import recovery

        owner, run_dir = owners.installation(Paths.default()), RunDir(Paths.default(), identity)
        recovery.recover(self._engine, owners.find(self._engine, owner, identity), run_dir, home, workspace)

    def remove(self, identity: str) -> None:
        self._remove_all(identity, owners.installation(Paths.default()))
        RunDir(Paths.default(), identity).remove()

    def leftovers(self) -> tuple[str, ...]:
        try:
            return owners.identities(self._engine, owners.installation(Paths.default()))
        except BottleError:
            return ()

    def _files(self, run_dir: RunDir, uid: int, gid: int) -> tuple[tuple[str, str], ...]:
        """(host path, target) of what the bottle sees in its /etc."""
        return run_dir.name_user(uid, gid)

    def _remove_all(self, identity: str, owner: str) -> None:
        owners.remove(self._engine, owners.find(self._engine, owner, identity))


def describe(
    engine: Engine, plan: BottlePlan, identity: str, run_dir: RunDir, *, labels: tuple[tuple[str, str], ...],
    files: tuple[tuple[str, str], ...], mounts: tuple[Mount, ...], boot: Boot | None = None, machine: Machine | None = None,
    meeting: str = "",
) -> argv.Container:  # fmt: skip
    """The container of a launch. `boot`: where its guards are known already. `machine`: the engine's, where that is not
    simply this one; for the rest see `argv.Container`."""
    bound = plan.workspace.source if plan.workspace.mode == "bind" else None
    covered = plan.workspace.mode == "overlay" or graft.needed(bound, mapped=machine is not None and machine.mapped)
    if boot is not None and boot.guards and not covered:
        from claude_bottle.backend.docker import guarded

        mounts = (*mounts, *guarded.mounts(boot, bottle_user(plan)))
    return argv.Container(
        name=owners.container_name(identity),
        labels=labels,
        image=plan.image,
        run_dir=str(run_dir.path),
        cid_file=str(run_dir.cid_file),
        seccomp=str(SECCOMP),
        mounts=mounts,
        files=files,
        limits=plan.limits,
        workspace=None if covered else bound,
        covered=covered,
        volumes=owners.declared_volumes(engine, plan.image),
        tmp_bytes=protections.tmp_bytes(machine.memory if machine else 0),
        meeting=meeting,
    )


def bottle_user(plan: BottlePlan) -> tuple[int, int]:
    """Who the bottle's programs are: an ordinary operator themselves, so that what they write is the operator's; for
    root, whoever the workspace belongs to, but never root (see `graft`)."""
    if os.geteuid() != 0:
        return os.geteuid(), os.getegid()
    if plan.workspace.mode == "bind" and plan.workspace.source is not None:
        owner = os.stat(plan.workspace.source)
        if owner.st_uid != 0:
            return owner.st_uid, owner.st_gid or GID
    return UID, GID


def real_sources(mounts: tuple[Mount, ...]) -> tuple[Mount, ...]:
    for mount in mounts:
        if os.path.realpath(mount.source) != mount.source:
            raise BottleError(f"cannot show {mount.source} in a bottle", why="a part of this path is a symbolic link",
                              do=f"name the real path: {os.path.realpath(mount.source)}")  # fmt: skip
    return mounts
