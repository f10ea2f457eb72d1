"""From a plan to a running bottle: gather everything a keeper needs, start it, and stay with it to the end.

`order` is the last place that reads the host (secrets, settings, certificates); the keeper looks nothing up. The three
ways to stay are `attached` (start, resume), `detached` and `piped` (run). What is only needed once a backend has begun is
imported then: an engine works meanwhile.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from claude_bottle import harness as harnesses
from claude_bottle import log
from claude_bottle.backend import BottleSpec, get_bottle_backend
from claude_bottle.backend.planning import agent_launch, program_mounts
from claude_bottle.errors import BottleError
from claude_bottle.harness.base import HOME, Harness, Launch, Program
from claude_bottle.keeper.signals import held_back
from claude_bottle.keeper.undo import undo_launch
from claude_bottle.manifest.mounts import check_on_host
from claude_bottle.model.names import new_session_id
from claude_bottle.model.plan import BottlePlan
from claude_bottle.state.beneath import open_up
from claude_bottle.state.config import Settings
from claude_bottle.state.files import ensure_private_dir, write_atomic
from claude_bottle.state.lock import IdentityLock
from claude_bottle.state.paths import Paths
from claude_bottle.state.record import STARTING, BottleRecord, this_process, timestamp
from claude_bottle.state.store import Store
from claude_bottle.values import replace
from claude_bottle.workflow import reaping

if TYPE_CHECKING:
    from claude_bottle.keeper.order import Order
    from claude_bottle.model.credentials import BoundCredential

PATH = "/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin"
PROXY = "http://127.0.0.1:3128"
_USUAL_PORTS = (80, 443)


def order(
    spec: BottleSpec,
    plan: BottlePlan,
    program: Program,
    paths: Paths,
    former: BottleRecord | None = None,
    *,
    archived: BottleRecord | None = None,
    keep: bool = False,
    fork: Callable[[], str] | None = None,
    forked: bool = False,
) -> Order:
    """Everything for one launch. Takes the identity's lock and writes its record; the keeper takes both over.

    `former` is the record to resume; `archived` the record in the archive of a bottle whose state is gone: it begins
    with a fresh home and its old conversation. `fork` fills the home (and, with `forked`, the workspace) of a first start
    and gives the conversation's id. `keep`: preserve the state however the agent ends. BottleError when something is
    missing; nothing is left behind then.
    """
    reaping.reap(paths)
    settings = Settings.load(paths)
    for mount in plan.mounts:
        check_on_host(mount)
    harness = harnesses.get(plan.harness)
    own = spec.manifest.bottles[spec.manifest.agent(spec.agent_name).bottle].credentials
    rules, inbox, more_bytes, more_money = plan.egress, None, 0, 0
    if former is None:
        bound, credentials_read = _bind(plan, harness)
    else:
        from claude_bottle.keeper.credentials import now
        from claude_bottle.workflow import carrying

        credentials_read = now()
        inbox, rules, bound, more_bytes, more_money = carrying.load(paths, plan, harness, settings, own)
    log.mark("secrets")
    before = former or archived
    session = before.session_id if before and before.session_id else new_session_id()
    agent = spec.manifest.agent(spec.agent_name)
    record = _record(spec, plan, session, former)._replace(layers=before.layers if before else ())
    lock, begun = IdentityLock(paths, record.identity), None
    if former is not None:
        lock.acquire()  # which may have to wait, and can be interrupted then
    with held_back() as let_go:
        _claim(Store(paths), record, former, lock)
        try:
            let_go()
            backend, mounts = get_bottle_backend(plan.backend), program_mounts(program)
            begun = backend.begin(plan, mounts)
            log.mark("begun")
            # What an engine that has been asked need not wait for.
            from claude_bottle.keeper.order import PIPES, PTY, Order, Pipes
            from claude_bottle.state.spent import read_spent
            from claude_bottle.workflow import gates, roots

            if fork is not None:
                record = Store(paths).update(plan.slug, session_id=fork())
            record, conversation = _furnish(paths, plan, record, harness, archived)
            launch = replace(
                agent_launch(agent, spec, program, record.session_id, resume=conversation),
                placeholders={one.spec.env: one.placeholder for one in bound},
                terminal=dict(os.environ),
            )
            trusted = roots.bundle(settings.ca)
            elsewhere = backend.gate_command(plan) is not None
            told = gates.configure(plan, bound, settings, trusted if elsewhere else None, spent=read_spent(paths, plan.slug))
            limit = None if told.egress_bytes is None else told.egress_bytes + more_bytes
            money = None if told.money is None else told.money + more_money
            gate = replace(told, rules=rules, egress_bytes=limit, money=money)
            columns, lines = _terminal_size()
            return Order(
                paths=paths, plan=plan, record=record, backend=backend, harness=harness,
                launch=launch, argv=tuple(harness.command(launch)), workspace=_workspace(plan, paths),
                env=environment(plan, launch, bound), former=former, keep=keep, forked=forked,
                credentials_read=credentials_read, gate=gate,
                ports=tuple(p for p in sorted({r.port for r in rules}) if p not in _USUAL_PORTS),
                inbox=inbox, offered=own, notify=settings.notify,
                mounts=mounts, roots=trusted, begun=begun, io=PIPES if spec.headless else PTY,
                rows=lines, cols=columns, pipes=Pipes.make() if spec.headless else None,
                outlet=gates.outlet_of(settings, gate.upstreams, trusted),
            )  # fmt: skip
        except BaseException:
            if begun:
                begun.abandon()
            undo_launch(paths, plan.slug, former)
            lock.release()
            raise


def _bind(plan: BottlePlan, harness: Harness) -> tuple[tuple[BoundCredential, ...], float]:
    """The plan's credentials with their values, and when they were read (0 for none)."""
    if not plan.credentials:
        return (), 0.0
    from claude_bottle.keeper.credentials import now
    from claude_bottle.workflow import secrets

    at = now()
    return secrets.bind(plan.credentials, harness), at


def _furnish(
    paths: Paths, plan: BottlePlan, record: BottleRecord, harness: Harness, archived: BottleRecord | None
) -> tuple[BottleRecord, bool]:
    """What the state directory needs before a boot; the record, and whether its home has a conversation to go on with."""
    home = paths.home(plan.slug)
    if archived is not None:
        from claude_bottle.state import transcripts

        transcripts.restore(paths, plan.slug, home)
    write_atomic(paths.plan(plan.slug), json.dumps(plan.to_dict(), indent=2).encode())
    if plan.resume_of is not None:
        latest = harness.latest_session(home)  # /clear begins a new conversation
        record = Store(paths).update(plan.slug, session_id=latest or record.session_id)
    return record, bool(harness.transcript_files(home, record.session_id))


def _terminal_size() -> tuple[int, int]:
    """Columns and lines of the operator's terminal, 80 by 24 where there is none."""
    try:
        columns, lines = os.get_terminal_size(1)
    except OSError:
        columns, lines = 0, 0
    return columns or 80, lines or 24


def environment(plan: BottlePlan, launch: Launch, bound: tuple[BoundCredential, ...]) -> dict[str, str]:
    """The agent's whole environment, from nothing. The manifest's own variables win over ours, placeholders over all."""
    from claude_bottle.harness.git_env import git_environment
    from claude_bottle.harness.trust_env import trust_environment

    user = Path(HOME).name
    made = {"PATH": PATH, "HOME": HOME, "USER": user, "LOGNAME": user, "PWD": plan.workspace.target}
    made |= harnesses.get(plan.harness).environment(launch)
    made |= trust_environment() | git_environment(plan.egress)
    if plan.proxy_env:
        made |= dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"), PROXY)
    return made | plan.env | {one.spec.env: one.placeholder for one in bound}


def _record(spec: BottleSpec, plan: BottlePlan, session: str, former: BottleRecord | None) -> BottleRecord:
    fresh = BottleRecord(
        identity=plan.slug, agent=plan.agent, harness=plan.harness, backend=plan.backend, status=STARTING,
        plan_digest=plan.digest, created=timestamp(), session_id=session, cwd=str(spec.user_cwd or Path.cwd()),
        manifests=tuple(str(source.path) for source in spec.manifest.sources),
        keeper=this_process(),  # until there is one: whoever looks meanwhile sees it starting
    )  # fmt: skip
    return fresh if former is None else fresh._replace(created=former.created)


def _claim(store: Store, record: BottleRecord, former: BottleRecord | None, lock: IdentityLock) -> None:
    """Its record on disk, and the lock of a new identity."""
    if former is None:
        store.create(record)
        lock.acquire()
    else:
        fields = {name: value for name, value in record._asdict().items() if name not in ("schema", "identity")}
        store.update(record.identity, **fields)


def _workspace(plan: BottlePlan, paths: Paths) -> Path:
    if plan.workspace.mode == "bind" and plan.workspace.source is not None:
        return Path(plan.workspace.source)
    private = paths.workspace(plan.slug)
    parent = os.open(private.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        # The agent may have closed it even to itself, and nothing could ever be started in it again.
        open_up(parent, private.name)
    except OSError:
        pass  # it is not there yet, or not ours: judged below
    finally:
        os.close(parent)
    ensure_private_dir(private)
    return private


def attached(order: Order) -> int:
    """Start the bottle, put the operator into its session, and say how it ended (contract §2, steps 5 to 9)."""
    from claude_bottle.keeper import spawn
    from claude_bottle.workflow.attach import follow

    words = "attaching interactive claude session (Ctrl-D or 'exit' to leave; container will be removed)"
    up = spawn.start(order, lambda: log.say(words))
    return follow(order.paths, up.identity, up.connection)


def detached(order: Order) -> int:
    """Start the bottle and leave it to its keeper; the identity goes to stdout."""
    from claude_bottle.keeper import spawn

    def announce() -> None:
        print(order.identity, flush=True)
        log.say(f"{order.identity} runs; claude-bottle attach {order.identity} connects, stop ends it")

    spawn.start(order, announce).connection.close()
    return 0


def piped(order: Order, *, json_result: bool) -> int:
    """Start the bottle on three pipes and move the bytes; the agent's own exit code."""
    from claude_bottle.keeper.order import PIPES
    from claude_bottle.workflow.piping import run

    if order.io != PIPES:
        raise BottleError("this bottle was planned for a terminal")
    return run(order, json_result=json_result)
