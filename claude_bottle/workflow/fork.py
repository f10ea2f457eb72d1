"""A new bottle that goes on from a checkpoint of another: its files and conversation, an agent of the operator's choice.

Everything else is a start like any other: manifest, consent, plan, confirmation. The plan's workspace is the checkpoint's,
whatever the manifest says of that agent's own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from claude_bottle import harness as harnesses
from claude_bottle import log
from claude_bottle.backend import get_bottle_backend
from claude_bottle.errors import BottleError
from claude_bottle.keeper import restoring
from claude_bottle.model.names import check_agent_name, check_identity
from claude_bottle.state import checkpoints
from claude_bottle.state.paths import Paths
from claude_bottle.state.store import Store
from claude_bottle.state.temporary import temporary_directory
from claude_bottle.values import replace
from claude_bottle.workflow import boot, programs
from claude_bottle.workflow.checkpoints import checkpoint, wanted
from claude_bottle.workflow.start import Options, confirmed, prepare, with_environment
from claude_bottle.workflow.terminal import mend

if TYPE_CHECKING:
    from claude_bottle.model.plan import BottlePlan, Workspace
    from claude_bottle.state.checkpoints import Checkpoint


def fork(origin: str, options: Options) -> int:
    """The verb. `origin` is IDENTITY[@CHECKPOINT]; without one, a checkpoint is taken now. Exit codes as for `start`."""
    mend()
    check_agent_name(options.name)
    identity, name = checkpoints.split(origin)
    check_identity(identity)
    options, paths = with_environment(options), Paths.default()
    Store(paths).load(identity)
    with temporary_directory() as stage:
        begun = _checkpoint(paths, identity, name, options)
        spec, plan = prepare(options, paths, stage)
        plan = replace(plan, workspace=_workspace(plan, begun), fork_of=f"{identity}@{begun.name if begun else 'now'}")
        if not confirmed(plan, options) or begun is None:
            return 0
        program, plan = programs.provide(spec, plan, paths, stage)
    harness, fixed = harnesses.get(plan.harness), begun

    def fill() -> str:
        return restoring.fork(paths, identity, fixed, plan.slug, harness, same_agent=plan.agent == fixed.agent)

    if harness.name != begun.harness:
        log.warn(f"the conversation stays behind: it is {begun.harness}'s, and {plan.agent} runs {harness.name}")
    order = boot.order(spec, plan, program, paths, keep=options.keep, fork=fill, forked=_has_files(begun))
    return boot.detached(order) if options.detach else boot.attached(order)


def _checkpoint(paths: Paths, identity: str, name: str, options: Options) -> Checkpoint | None:
    """None for a look at a plan that would take one."""
    if name:
        return wanted(paths, identity, name)
    return None if options.dry_run else checkpoint(identity, paths=paths, made=checkpoints.FORK)


def _has_files(begun: Checkpoint) -> bool:
    return begun.layers is not None or begun.workspace is not None


def _workspace(plan: BottlePlan, begun: Checkpoint | None) -> Workspace:
    """That of the checkpoint, as the new bottle's backend can have it."""
    if begun is None or not _has_files(begun):
        return plan.workspace
    if begun.layers is None:
        return replace(plan.workspace, mode=begun.mode, source=begun.source, include=())
    if begun.source is None:
        raise BottleError(f"the checkpoint {begun.name} does not say what its files lie over")
    mode = "copy" if get_bottle_backend(plan.backend).no_overlay(begun.source, str(Paths.default().root)) else "overlay"
    return replace(plan.workspace, mode=mode, source=begun.source, include=())
