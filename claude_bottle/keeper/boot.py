"""The boot of one bottle, step by step, inside its keeper.

Each step leaves a mark for CLAUDE_BOTTLE_TIMING=1 and registers its own undoing before the next begins, so a failure
anywhere takes back everything and the operator gets the one error that caused it. The agent is the last thing that
starts: by then the gate listens, or there is no network to listen on.
"""

from __future__ import annotations

from contextlib import ExitStack
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, NamedTuple

from claude_bottle import log, proc
from claude_bottle.errors import BottleError
from claude_bottle.keeper import daemon
from claude_bottle.keeper.audit import Audit
from claude_bottle.keeper.gate_link import GateLink
from claude_bottle.keeper.loop import Loop
from claude_bottle.keeper.order import PTY
from claude_bottle.model import events

if TYPE_CHECKING:
    from collections.abc import Callable

    from claude_bottle.backend.base import Bottle, Process
    from claude_bottle.keeper.order import Order
    from claude_bottle.keeper.pty import Terminal
    from claude_bottle.keeper.recorder import Recorder
    from claude_bottle.state.journal import Journal
    from claude_bottle.state.store import Store


class Booted(NamedTuple):
    """A bottle that is up. `sandbox` takes the bottle down when closed; `everything` takes down all there is.

    A NamedTuple because it is defined on the way up, where a dataclass would take a millisecond.
    """

    loop: Loop
    store: Store
    journal: Journal
    audit: Audit
    gate: GateLink | None
    bottle: Bottle
    agent: Process
    terminal: Terminal | None
    recorder: Recorder | None
    sandbox: ExitStack
    everything: ExitStack


def boot(order: Order) -> Booted:
    """Do it all. Whatever is raised, nothing of the launch is left but the state directory."""
    with ExitStack() as undo:
        if order.begun:
            undo.callback(order.begun.abandon)
        gate = _fork_gate(order, undo)
        store, journal = _own_setup(order, undo)
        loop = Loop()
        undo.callback(loop.close)
        audit = Audit(loop, journal, gate)
        _journal_plan(order, journal, audit)
        booted = _raise(order, Lasting(loop, store, journal, audit), gate, undo, None)
        return booted._replace(everything=undo.pop_all())


def boot_again(order: Order, before: Booted) -> Booted:
    """The next life of a bottle in the same keeper: another gate, bottle and agent. Whatever is raised, nothing of it is
    left, and what lasts is as it was: loop, journal, recording, lock, socket."""
    with ExitStack() as undo:
        gate = _fork_gate(order, undo)
        before.audit.watch_over(gate)
        before.audit.record(events.PLANNED, digest=order.plan.digest)
        lasting = Lasting(before.loop, before.store, before.journal, before.audit)
        booted = _raise(order, lasting, gate, undo, before.recorder)
        before.everything.callback(undo.pop_all().close)
        return booted._replace(everything=before.everything)


class Lasting(NamedTuple):
    """What a keeper has once, however often its bottle boots."""

    loop: Loop
    store: Store
    journal: Journal
    audit: Audit


def _raise(order: Order, lasting: Lasting, gate: GateLink | None, undo: ExitStack, recorder: Recorder | None) -> Booted:
    """From a gate that has been forked to an agent that runs. `undo` takes all of it down."""
    loop, store, journal, audit = lasting
    with ExitStack() as regret:
        order.harness.seed(order.paths.home(order.identity), order.launch)
        log.mark("home seeded")
        bundle = _ca_bundle(order, gate)
        proc.set_title(f"claude_bottle.keeper {order.identity}")  # now, when a place may be on its way
        if order.begun:
            _look_ahead()
        sandbox, bottle = _launch(order, gate, bundle, undo)
        if callable(bundle):
            bundle()  # a gate that made no certificate is told of, whether or not the backend asked for it
        regret.callback(bottle.release)
        regret.callback(bottle.close)
        audit.record(events.LAUNCHED, backend=order.backend.name)
        if gate:
            gate.expect("listening")
            log.mark("gate listening")
        terminal = _terminal(order, loop, bottle, undo)
        recorder = recorder or (_recorder(order, undo) if terminal else None)
        agent = _spawn_agent(order, bottle, terminal)
        audit.record(events.AGENT_STARTED, argv=list(order.plan.command))
        if audit.halted:
            raise BottleError("the journal cannot be written", why="nothing may run unrecorded",
                              do="free some space under the state root")  # fmt: skip
        _note_running(store, order, bottle)
        daemon.hide_memory()
        regret.pop_all()  # from here on the settlement decides what is kept
        return Booted(loop, store, journal, audit, gate, bottle, agent, terminal, recorder, sandbox, undo)


def _look_ahead() -> None:
    """Load what the rest of a bottle's life needs while an engine makes it; else the agent's start and end wait for that."""
    for name in ("keeper.snapshots", "state.checkpoints", "state.transcripts"):
        import_module(f"claude_bottle.{name}")


def _fork_gate(order: Order, undo: ExitStack) -> GateLink | None:
    if order.gate is None:
        return None
    command = order.backend.gate_command(order.plan)
    if command is None:
        gate = GateLink(order.gate, order.serve)
    else:
        from claude_bottle.keeper.gate_elsewhere import GateElsewhere

        gate = GateElsewhere(order.gate, command, lambda: order.backend.end_gate(order.plan))
    undo.callback(gate.end)
    log.mark("gate forked")
    return gate


def _own_setup(order: Order, undo: ExitStack) -> tuple[Store, Journal]:
    from claude_bottle.state.journal import Journal
    from claude_bottle.state.lock import held_here
    from claude_bottle.state.store import Store

    lock = held_here(order.paths, order.identity)
    if lock is None:
        raise BottleError(f"{order.identity} is not locked for this launch")
    lock.note_holder()
    store = Store(order.paths)
    journal = Journal.open(order.paths, order.identity)
    undo.callback(journal.close)
    log.mark("state and journal open")
    return store, journal


def _journal_plan(order: Order, journal: Journal, audit: Audit) -> None:
    if order.former and order.former.journal not in (None, journal.head):
        audit.fault("the journal was changed while the bottle did not run", expected=order.former.journal, found=journal.head)
    kind = events.CREATED if order.former is None else events.RESUMED
    audit.record(kind, identity=order.identity, agent=order.record.agent, backend=order.record.backend)
    audit.record(events.PLANNED, digest=order.plan.digest)
    for one in order.gate.credentials if order.gate else ():
        audit.record(events.CREDENTIAL_READ, name=one.spec.name, source=one.spec.source)


def _ca_bundle(order: Order, gate: GateLink | None) -> bytes | Callable[[], bytes]:
    """What programs inside trust. The gate takes 15 ms for its certificate, so a backend asks for it late."""
    if gate is None or not order.inspects:
        return order.roots

    @cache
    def made() -> bytes:
        pem = gate.expect("ca").get("pem")
        if not isinstance(pem, str) or not pem.startswith("-----BEGIN CERTIFICATE-----"):
            raise BottleError("the gate did not start", why="it made no certificate")
        log.mark("certificate made")
        roots = order.roots if not order.roots or order.roots.endswith(b"\n") else order.roots + b"\n"
        return roots + pem.encode()

    return made


def _launch(
    order: Order, gate: GateLink | None, bundle: bytes | Callable[[], bytes], undo: ExitStack
) -> tuple[ExitStack, Bottle]:
    from claude_bottle.backend.base import Boot
    from claude_bottle.keeper import workspaces

    work = workspaces.begin(order)
    sandbox = ExitStack()
    undo.callback(sandbox.close)
    wanted = Boot(
        identity=order.identity,
        home=order.paths.home(order.identity),
        workspace=order.workspace,
        registration=gate.registration if gate else None,
        nonce=order.gate.nonce if order.gate else "",
        ports=order.ports,
        ca_bundle=bundle,
        mounts=order.mounts,
        copy_from=work.copy_from,
        overlay=work.overlay,
        guards=work.guards,
        begun=order.begun,
    )
    bottle = sandbox.enter_context(order.backend.launch(order.plan, boot=wanted))
    if gate:
        gate.registration.close()
    log.mark("bottle up")
    return sandbox, bottle


def _terminal(order: Order, loop: Loop, bottle: Bottle, undo: ExitStack) -> Terminal | None:
    if order.io != PTY:
        return None
    from claude_bottle.keeper.pty import Terminal

    terminal = Terminal(loop, bottle.open_pty(), order.rows, order.cols, bottle.resize)
    undo.callback(terminal.close)
    return terminal


def _recorder(order: Order, undo: ExitStack) -> Recorder | None:
    from claude_bottle.keeper.recorder import Recorder

    try:
        recorder = Recorder(order.paths.recording(order.identity), order.rows, order.cols)
    except OSError:
        return None  # a convenience, no reason not to start
    undo.callback(recorder.close)
    return recorder


def _spawn_agent(order: Order, bottle: Bottle, terminal: Terminal | None) -> Process:
    if terminal:
        stdio = (terminal.slave,) * 3
    elif order.pipes:
        order.pipes.give_to(bottle.host_uid)
        stdio = order.pipes.agent
    else:
        raise BottleError("an agent needs a terminal or pipes")
    agent = bottle.spawn(order.argv, env=order.env, stdio=stdio, controlling_tty=terminal is not None)
    if order.pipes:
        order.pipes.close_agent()
    log.mark("agent started")
    return agent


def _note_running(store: Store, order: Order, bottle: Bottle) -> None:
    """One write, once everything has worked. A resumed bottle starts afresh: why it was kept the last time says nothing
    about this time. Until now the record has named the CLI that waits, if anyone. `order.reasons` are of this time."""
    from claude_bottle.state.record import RUNNING, this_process

    store.update(order.identity, status=RUNNING, keeper=this_process(), host_uid=bottle.host_uid, preserved=order.reasons,
                 ended="", exit_code=None)  # fmt: skip
    log.mark("record written")
