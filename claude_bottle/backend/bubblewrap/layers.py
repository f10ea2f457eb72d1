"""Capabilities on bubblewrap: what a plan's layers are called, building one, and those there are.

A layer's name is the hash of everything it comes from: the layers below, the capability, the registry, the system it is
built on. Only packages can be built: a fragment of a Dockerfile needs an image.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

from claude_bottle.backend import packages, subids
from claude_bottle.backend.base import Images
from claude_bottle.backend.bubblewrap import distribution
from claude_bottle.backend.bubblewrap.layer_store import LayerStore
from claude_bottle.digests import sha256
from claude_bottle.errors import BottleError, EnvironmentLacks, Refused
from claude_bottle.model.capability import APT, DOCKERFILE, MAX_LAYERS, Capability
from claude_bottle.model.plan import BottlePlan, Layer
from claude_bottle.redact import printable
from claude_bottle.state.config import Registry, Settings
from claude_bottle.state.paths import Paths
from claude_bottle.values import replace

if TYPE_CHECKING:
    from claude_bottle.backend.base import Outlet
    from claude_bottle.backend.bubblewrap.layer_build import Launcher
    from claude_bottle.harness.base import Program, Progress
    from claude_bottle.model.policy import Rule

# Bumped when a layer is built in a way that its name does not show.
VERSION = 2


def with_layer(plan: BottlePlan, capability: Capability) -> BottlePlan:
    """See `Backend.with_layer`."""
    if capability.kind == DOCKERFILE:
        raise Refused("a bottle on bubblewrap has no image to build on", why="a fragment of a Dockerfile needs one",
                      do="ask for packages (apt, pip, npm, cargo, go), or use --backend docker")  # fmt: skip
    if len(plan.layers) >= MAX_LAYERS:
        raise Refused(f"a bottle has at most {MAX_LAYERS} layers", do="put packages of a kind into one")
    registry = _registry(capability)
    below = plan.layers[-1].name if plan.layers else ""
    made = {"version": VERSION, "below": below, "capability": capability.to_dict(), "base": distribution.base(),
            "registry": registry.to_dict() if registry else None, "installed": _installed(capability)}  # fmt: skip
    name = sha256(json.dumps(made, sort_keys=True).encode()).hexdigest()[:32]
    layer = Layer(capability, name, packages.places(_granted(capability, registry)))
    return replace(plan, layers=(*plan.layers, layer))


def build_layer(
    plan: BottlePlan, capability: Capability, progress: Progress, outlet: Outlet, launch: Launcher
) -> BottlePlan:  # fmt: skip
    """See `Backend.build_layer`."""
    base = distribution.base()
    wanted, store = with_layer(plan, capability), LayerStore(Paths.default())
    name, registry = wanted.layers[-1].name, _registry(capability)
    if not store.has(name):
        from claude_bottle.backend.bubblewrap import layer_build

        granted = _granted(capability, registry)
        layer_build.build(store, pile(plan), name, capability, registry, granted, progress, outlet, launch,
                          base, installed=_installed(capability))  # fmt: skip
    store.used(name)
    return wanted


def pile(plan: BottlePlan) -> tuple[Path, ...]:
    """The directories of a plan's layers, lowest first. BottleError when one is not there, or belongs to another system
    than this host is by now: what was built on the one does not go with the /usr of the other."""
    store, now = LayerStore(Paths.default()), distribution.base()
    found = tuple(store.directory(layer.name) for layer in plan.layers)
    for layer in plan.layers:
        base = store.about(layer.name).get("base")
        if base != now:
            raise EnvironmentLacks(f"the layer {layer.capability.describe()} does not fit this host any more",
                                   why=f"it was built on {printable(str(base))}, this is {now} now",
                                   do="stop the bottle with --keep, then resume it: its layers are built anew")  # fmt: skip
    return found


def _installed(capability: Capability) -> bool:
    """Whether its packages are installed as such, which takes many ids, and a host whose /bin is /usr/bin."""
    return capability.kind == APT and os.path.islink("/bin") and subids.own("") is not None


def _registry(capability: Capability) -> Registry | None:
    return Settings.load(Paths.default()).registries.get(capability.kind)


def _granted(capability: Capability, registry: Registry | None) -> tuple[Rule, ...]:
    own = distribution.apt_rules() if capability.kind == APT and registry is None else None
    return own or packages.rules(capability.kind, registry)


class BuiltLayers(Images):
    """The layers there are, where bottles are made from no image."""

    layers_only = True

    def build(self, base: str | None, program: Program | None, progress: Progress) -> str:
        raise BottleError("bubblewrap makes no bottle from an image", why="its bottles are made of this host's /usr",
                          do="--backend docker")  # fmt: skip

    def list(self) -> list[dict[str, object]]:
        store = LayerStore(Paths.default())
        store.sweep()
        found = [(name, store.about(name)) for name in store.names()]
        found.sort(key=lambda one: str(one[1].get("created", "")), reverse=True)
        return [{"name": name, "id": name, "size": about.get("size", 0), "created": _when(about.get("created")),
                 "layer": _described(about)} for name, about in found]  # fmt: skip

    def remove(self, name: str) -> bool:
        return LayerStore(Paths.default()).remove(name)


def _described(about: dict[str, object]) -> str:
    try:
        return Capability.from_dict(about.get("capability")).describe()
    except Refused:
        return ""


def _when(at: object) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(at)) if isinstance(at, int) else ""
