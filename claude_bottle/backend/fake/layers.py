"""Layers where nothing is protected: a directory of scripts for each, found by PATH. Every package exists but `missing`."""

from __future__ import annotations

import os
from pathlib import Path

from claude_bottle.digests import sha256
from claude_bottle.errors import BottleError
from claude_bottle.harness.base import Progress
from claude_bottle.model.capability import Capability
from claude_bottle.model.plan import BottlePlan, Layer
from claude_bottle.state.files import ensure_private_dir
from claude_bottle.state.paths import Paths
from claude_bottle.state.removal import remove_tree
from claude_bottle.values import replace

MISSING = "missing"


def with_layer(plan: BottlePlan, capability: Capability) -> BottlePlan:
    """Its name is what went into it and into those below."""
    below = plan.layers[-1].name if plan.layers else ""
    name = sha256(f"{below} {capability.digest}".encode()).hexdigest()[:32]
    return replace(plan, layers=(*plan.layers, Layer(capability, name)))


def build(plan: BottlePlan, capability: Capability, progress: Progress) -> BottlePlan:
    wanted, paths = with_layer(plan, capability), Paths.default()
    place = paths.layer_store / wanted.layers[-1].name
    if place.is_dir():
        return wanted
    paths.ensure_root()
    ensure_private_dir(place.parent)
    made = place.parent / f".new-{os.urandom(8).hex()}"
    made.mkdir()
    try:
        for item in capability.items or ("layered",):
            progress(f"making {item}")
            if item == MISSING or "exit 3" in capability.fragment:
                raise BottleError("the layer could not be built", why=f"no package is called {item}")
            script = made / item
            script.write_text(f"#!/bin/sh\necho {item}\n")
            script.chmod(0o755)
        os.rename(made, place)
    except BottleError:
        remove_tree(made)
        raise
    return wanted


def directories(plan: BottlePlan) -> list[Path]:
    """Where the programs of a plan's layers are, the latest first. BottleError when a layer is not there."""
    found = [Paths.default().layer_store / layer.name for layer in reversed(plan.layers)]
    for place in found:
        if not place.is_dir():
            raise BottleError("a layer of this bottle is missing", why=str(place))
    return found
