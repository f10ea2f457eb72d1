"""What a plan needs that may take minutes to get: the agent program, and the image of a container bottle. Installed or
built with visible progress, once."""

from __future__ import annotations

from pathlib import Path

from claude_bottle import harness as harnesses
from claude_bottle import log
from claude_bottle.backend import get_bottle_backend
from claude_bottle.backend.base import BottleSpec
from claude_bottle.backend.planning import build_layers
from claude_bottle.harness.base import Program
from claude_bottle.harness.progress import ProgressLine
from claude_bottle.model.plan import BottlePlan
from claude_bottle.state.paths import Paths
from claude_bottle.values import replace


def provide(spec: BottleSpec, plan: BottlePlan, paths: Paths, stage: Path) -> tuple[Program, BottlePlan]:
    """The agent program and the plan to launch. That is the plan that was confirmed, with its gaps filled where the
    program had to be installed first. EnvironmentLacks (exit 4) when something cannot be had."""
    program = ensure(spec.manifest.agent(spec.agent_name).harness, paths)
    backend = get_bottle_backend(plan.backend)
    if program.version != plan.harness_version:
        whole = backend.prepare(spec, stage_dir=stage)
        plan = replace(whole, slug=plan.slug, warnings=plan.warnings)
    with ProgressLine() as progress:
        backend.provide(spec, plan, progress)
        if plan.layers:
            from claude_bottle.workflow import gates

            build_layers(backend, plan, progress, gates.outlet(paths))
    return program, plan


def ensure(name: str, paths: Paths) -> Program:
    """A harness's program, installed first if need be."""
    harness = harnesses.get(name)
    program = harness.find(paths)
    if program is None:
        log.say(f"{harness.name} is not on this machine; installing it (once)")
        paths.ensure_root()
        with ProgressLine() as progress:
            program = harness.install(paths, progress)
    return program
