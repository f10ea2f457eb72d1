"""The story of a bottle, from a name to a settled session.

Resolve the manifest, agree to it, plan, confirm, read the secrets, start the keeper, attach, say how it ended. Each step
is a call below or in a neighbour; this file only puts them in order. Everything that happens once the keeper lives is
the keeper's: this process may be killed at any moment.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from claude_bottle import log
from claude_bottle.backend import BottleSpec
from claude_bottle.backend.choice import choose, foresee
from claude_bottle.errors import Refused, UsageError
from claude_bottle.gate import confine
from claude_bottle.manifest import Manifest
from claude_bottle.model.names import check_agent_name
from claude_bottle.model.plan import BottlePlan
from claude_bottle.state.config import Settings
from claude_bottle.state.paths import Paths
from claude_bottle.state.temporary import temporary_directory
from claude_bottle.values import dataclass, replace
from claude_bottle.workflow import boot, programs
from claude_bottle.workflow.terminal import ask, mend
from claude_bottle.workflow.trust import obtain

if TYPE_CHECKING:
    from claude_bottle.model.capability import Capability

_SHORTEST_DIGEST = 8


@dataclass(frozen=True)
class Options:
    """The command line of `start`, `run` and `resume`. `format` is "text" or "json"; `args` go to the agent.
    `approvals`: the file of what is approved beforehand, "" for none. `checkpoints`: how many of those at the end of a turn
    stay, 0 for none at all, None for what the manifest says."""

    name: str
    args: tuple[str, ...] = ()
    dry_run: bool = False
    format: str = "text"
    copy_cwd: bool = False
    remote_control: bool = False
    yes: bool = False
    detach: bool = False
    backend: str | None = None
    expect_plan: str | None = None
    keep: bool = False
    approvals: str = ""
    checkpoints: int | None = None


def start(options: Options) -> int:
    """The verb. Returns the exit code: 0 once the session has ended, whatever the agent's code was."""
    mend()
    check_agent_name(options.name)
    options = with_environment(options)
    paths = Paths.default()
    with temporary_directory() as stage:
        spec, plan = prepare(options, paths, stage)
        if not confirmed(plan, options):
            return 0
        program, plan = programs.provide(spec, plan, paths, stage)
    order = boot.order(spec, plan, program, paths, keep=options.keep)
    return boot.detached(order) if options.detach else boot.attached(order)


def run_headless(options: Options, *, json_result: bool) -> int:
    """The verb `run`: no terminal, no questions, the agent's own exit code."""
    mend()
    check_agent_name(options.name)
    options = with_environment(options)
    paths = Paths.default()
    with temporary_directory() as stage:
        spec, plan = prepare(options, paths, stage, headless=True)
        if options.dry_run:
            confirmed(plan, replace(options, format="json" if json_result else "text"))
            return 0
        program, plan = programs.provide(spec, plan, paths, stage)
    order = boot.order(spec, plan, program, paths, keep=options.keep)
    return boot.piped(order, json_result=json_result)


def prepare(
    options: Options,
    paths: Paths,
    stage: Path,
    *,
    headless: bool = False,
    resume_of: str | None = None,
    cwd: Path | None = None,
    layers: tuple[Capability, ...] = (),
) -> tuple[BottleSpec, BottlePlan]:
    """Manifest, plan and consent. `layers`: those that a bottle to resume was granted. Nothing is started and nothing but
    `stage` is touched."""
    foresee(options.backend)
    where = cwd or Path.cwd()
    manifest = Manifest.resolve(where, paths=paths)
    log.mark("manifest")
    spec = BottleSpec(
        manifest, options.name, copy_cwd=options.copy_cwd, user_cwd=where, args=options.args,
        remote_control=options.remote_control, headless=headless, resume_of=resume_of, layers=layers,
    )  # fmt: skip
    agent = manifest.agent(options.name)
    bottle = manifest.bottles[agent.bottle]
    settings, image = Settings.load(paths), bottle.image is not None
    backend, warning, ready = choose(options.backend, bottle.backend, default=settings.default_backend, image=image)
    if not options.dry_run:
        # What would be missing at the launch is told before anyone is asked or anything is installed.
        bottle.choose(os.environ)
        if not ready:
            backend.require()
    plan = backend.prepare(spec, stage_dir=stage)
    if options.checkpoints is not None:
        plan = replace(plan, checkpoints=options.checkpoints)
    if warning:
        if headless:  # nobody is shown the plan
            log.warn(warning)
        plan = replace(plan, warnings=(warning, *plan.warnings))
    if plan.egress and backend.gate_command(plan) is None:
        plan = replace(plan, protections=(*plan.protections, *confine.available()))
    if plan.egress and settings.upstream_proxy:
        from claude_bottle.workflow import gates

        plan = replace(plan, protections=(*plan.protections, gates.through(settings.upstream_proxy)))
    if options.approvals:
        from claude_bottle.workflow.approvals import with_approvals

        plan = with_approvals(plan, options.approvals, paths)
    log.mark("plan")
    if manifest.consent is not None and not options.dry_run:
        agree(manifest, paths, options)
    if options.expect_plan is not None:
        demand(plan, options.expect_plan)
    return spec, plan


def agree(manifest: Manifest, paths: Paths, options: Options) -> None:
    """A project's grants need the operator's consent; --yes confirms a plan, it is no consent to a stranger's file."""
    if manifest.consent is None:
        return
    if options.yes:
        raise manifest.consent.refusal()
    obtain(manifest.consent, paths)


def demand(plan: BottlePlan, wanted: str) -> None:
    """Refused unless the plan is the one the caller expects."""
    if len(wanted) < _SHORTEST_DIGEST:
        raise UsageError("--expect-plan needs at least 8 characters of the digest")
    if not plan.digest.startswith(wanted.lower()):
        raise Refused("the plan is not the expected one", why=f"its digest is {plan.digest}, expected {wanted}",
                      do="look at it: claude-bottle start … --dry-run")  # fmt: skip


def confirmed(plan: BottlePlan, options: Options) -> bool:
    """Show the plan and get the operator's word (contract §2, steps 2 to 4). False: the session ends here, well."""
    if options.format == "json":
        print(json.dumps(plan.to_dict(), indent=2))
        return False
    plan.print()
    sys.stdout.flush()
    if options.dry_run:
        log.say("dry-run requested; not starting container.")
        return False
    if not options.yes and not ask("launch this agent? [y/N] "):
        log.say("aborted by user")
        return False
    return True


def with_environment(options: Options) -> Options:
    """CLAUDE_BOTTLE_DRY_RUN=1 counts as --dry-run; `--format json` needs one of them."""
    if os.environ.get("CLAUDE_BOTTLE_DRY_RUN") == "1":
        options = replace(options, dry_run=True)
    if options.format == "json" and not options.dry_run:
        raise UsageError("--format json needs --dry-run", why="a session is attached to a terminal, not to a document",
                         do="add --dry-run, or use claude-bottle run NAME --json")  # fmt: skip
    return options
