"""Boot a bottle again: the same home, working directory and conversation, under the manifest as it is now.

A manifest that grants less applies at once; one that grants more than the bottle had asks first, and `--yes` is no
answer to that (`--expect-plan` is). State that is gone is no obstacle as long as the conversation is archived.
"""

from __future__ import annotations

import os
from pathlib import Path

from claude_bottle import log
from claude_bottle.errors import BottleError, Refused
from claude_bottle.manifest.compare_plans import plan_widening
from claude_bottle.model.names import check_identity
from claude_bottle.model.plan import BottlePlan
from claude_bottle.redact import printable
from claude_bottle.state import transcripts
from claude_bottle.state.files import read_json
from claude_bottle.state.lock import IdentityLock
from claude_bottle.state.paths import Paths
from claude_bottle.state.record import INTERRUPTED, BottleRecord, effective_status
from claude_bottle.state.store import Store, alive
from claude_bottle.state.temporary import temporary_directory
from claude_bottle.values import replace
from claude_bottle.workflow import boot, programs
from claude_bottle.workflow.start import Options, confirmed, prepare, with_environment
from claude_bottle.workflow.terminal import ask, mend

PLAN_LIMIT = 4 << 20


def resume(identity: str, options: Options) -> int:
    """The verb. Exit codes as for `start`."""
    mend()
    check_identity(identity)
    options = with_environment(options)
    paths = Paths.default()
    former, archived = find(paths, identity)
    known = former or archived
    if known is None:
        raise BottleError(f"no bottle called {identity}", do="claude-bottle ls --all lists them")
    options = replace(options, name=known.agent, backend=options.backend or known.backend)
    with temporary_directory() as stage:
        spec, plan = prepare(options, paths, stage, resume_of=identity, cwd=directory(known), layers=known.layers)
        if former is not None:
            from claude_bottle.workflow import carrying
            from claude_bottle.workflow.planted import planted

            notes = (*carrying.described(paths, plan), *made_anew(paths, plan), *planted(paths.home(identity)))
            plan = replace(plan, warnings=(*plan.warnings, *notes))
        if not options.dry_run and former is not None:
            accept_widening(paths, plan, options, former)
        if not confirmed(plan, options):
            return 0
        program, plan = programs.provide(spec, plan, paths, stage)
    order = boot.order(spec, plan, program, paths, former, archived=archived, keep=options.keep)
    return boot.detached(order) if options.detach else boot.attached(order)


def find(paths: Paths, identity: str) -> tuple[BottleRecord | None, BottleRecord | None]:
    """The record of its state, or of its archive when the state is gone; one that is being settled is waited for.
    BottleError when it runs."""
    from claude_bottle.keeper.interrupted import recover, settle_interrupted
    from claude_bottle.keeper.reaching import let_settle

    let_settle(paths, identity)
    store = Store(paths)
    record = store.find(identity)
    if record:
        if alive(record):
            raise BottleError(f"{identity} is running", do=f"claude-bottle attach {identity}")
        if effective_status(record) == INTERRUPTED:
            settle_interrupted(paths, identity)
            record = store.load(identity)
        else:
            with IdentityLock(paths, identity).acquire():
                recover(paths, record)  # what the settlement could not bring home
        return record, None
    try:
        return None, transcripts.load(paths, identity).record
    except BottleError:
        raise BottleError(f"no bottle called {identity}", do="claude-bottle ls --all lists them") from None


def directory(record: BottleRecord) -> Path:
    """Where the operator stood at the start: the manifest and a bound workspace are found from there."""
    place = Path(record.cwd)
    if not os.path.isdir(place):  # False for whatever cannot be one, too
        raise BottleError(f"cannot resume {record.identity}", why=f"its directory is gone: {printable(record.cwd)}",
                          do="put the directory back, then resume again")  # fmt: skip
    return place


def accept_widening(paths: Paths, plan: BottlePlan, options: Options, former: BottleRecord) -> None:
    """Ask before a bottle that already ran gets more than it had. Refused (exit 3) when the answer is no."""
    wider = plan_widening(_former_plan(paths, plan.slug), plan.to_dict(), {one.digest for one in former.layers})
    if not wider or options.expect_plan is not None:
        return
    log.say(f"the manifest grants {plan.slug} more than it had:")
    for line in wider:
        log.say(f"  + {printable(line)}")
    if options.yes:
        raise Refused("a wider plan needs your word", why="--yes confirms the plan the bottle had",
                      do=f"resume without --yes, or with --expect-plan {plan.digest[:16]}")  # fmt: skip
    if not ask("resume it with these? [y/N] "):
        raise Refused("not resumed", do="narrow the manifest, then resume again")


def made_anew(paths: Paths, plan: BottlePlan) -> tuple[str, ...]:
    """One line for each layer that the bottle had, by another name: what was built for another system is not used on this."""
    former = _former_plan(paths, plan.slug)
    layers = former.get("layers")
    had = [one for one in layers if isinstance(one, dict)] if isinstance(layers, list) else []
    digests, names = {one.get("digest") for one in had}, {one.get("name") for one in had}
    if former.get("backend") != plan.backend:
        return ()
    return tuple(f"its layer {layer.capability.describe()} is another than before, as this host, its registry or what lies "
                 "below has changed: it is built anew"
                 for layer in plan.layers if layer.capability.digest in digests and layer.name not in names)  # fmt: skip


def _former_plan(paths: Paths, identity: str) -> dict[str, object]:
    """The stored plan; empty when it cannot be read, so that everything counts as more."""
    try:
        return read_json(paths.plan(identity), PLAN_LIMIT)
    except (OSError, BottleError):
        return {}
