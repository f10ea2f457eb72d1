"""The keeper: one process, one bottle, from its boot to its settlement.

`keep` tells the whole story: cut loose, boot, report to the CLI, serve until the agent ends, settle, tell whoever still
listens, end. While it serves, everything is an event of the loop: clients, the agent's terminal, the gate, signals,
timers. It may touch this identity's state, its socket, its bottle and its gate, nothing else.
"""

from __future__ import annotations

import gc
import os
import signal
import socket
from collections.abc import Sequence
from typing import TYPE_CHECKING

from claude_bottle import log
from claude_bottle.errors import BottleError
from claude_bottle.keeper import daemon, frames, settle
from claude_bottle.keeper.boot import boot
from claude_bottle.keeper.clients import Clients
from claude_bottle.keeper.loop import READ, watch_exit
from claude_bottle.keeper.order import PIPES
from claude_bottle.keeper.undo import undo_launch
from claude_bottle.model import events

if TYPE_CHECKING:
    from claude_bottle.keeper.boot import Booted
    from claude_bottle.keeper.control import Connection
    from claude_bottle.keeper.credentials import Refresher
    from claude_bottle.keeper.loop import Timer
    from claude_bottle.keeper.order import Order
    from claude_bottle.keeper.session import Session
    from claude_bottle.keeper.snapshots import Snapshots
    from claude_bottle.model.credentials import BoundCredential

DEFAULT_GRACE = 10.0
FAILED = "the keeper failed"
# What ignores SIGTERM (an interactive shell) is hung up on after this part of the grace.
_HANG_UP_AFTER = 0.25
# For all clients together to take their last messages; a little more than each connection gives its own peer.
_FAREWELL_SECONDS = 35.0


def keep(order: Order, birth: socket.socket) -> None:
    """The life of a keeper, in the process that is to be it. `birth` leads to the CLI that waits for the outcome."""
    before = len(log.marks())
    woken = daemon.detach(_inherited(order, birth))
    try:
        booted = boot(order)
    except BaseException as problem:
        undo_launch(order.paths, order.identity, order.former)
        _tell(birth, {"op": "error", "error": _as_error(order, problem).to_dict()})
        return
    with booted.everything:
        keeper, failure = _keeper(order, booted)
        if keeper and _tell(birth, {"op": "up", "pid": os.getpid(), "marks": log.marks()[before:]}):
            keeper.serve(birth, woken)
            return
        # Nobody learnt that it is up (perhaps because nobody is left): the launch never happened.
        booted.everything.close()
        booted.bottle.release()
        undo_launch(order.paths, order.identity, order.former)
        if failure:
            _tell(birth, {"op": "error", "error": _as_error(order, failure).to_dict()})


def _keeper(order: Order, booted: Booted) -> tuple[Keeper | None, BaseException | None]:
    try:
        return Keeper(order, booted), None
    except BaseException as problem:
        return None, problem


class Keeper:
    """The serving part: what happens to the agent, the gate and the clients while the bottle is up."""

    def __init__(self, order: Order, booted: Booted) -> None:
        self._order, self._booted, self._loop = order, booted, booted.loop
        self._session = _session(booted)
        self._clients = Clients(order, booted, self._session, self.stop)
        booted.everything.callback(self._clients.close)
        self._birth: Connection | None = None
        self._timers: list[Timer] = []
        self._snapshots: Snapshots | None = None
        self._refresher: Refresher | None = None
        self._stopped = False
        self._reasons: tuple[str, ...] = (settle.OPERATOR,) if order.keep else ()

    def serve(self, birth: socket.socket, woken: int) -> None:
        """Until the agent has ended and everything is settled. A bug here ends in a settled bottle too."""
        try:
            gc.enable()  # which the command line does without
            self._watch(birth, woken)
            self._loop.run()
            code = self._booted.agent.wait()
            if self._session:
                self._session.finish(self._birth)
        except Exception as bug:
            self._reasons = (*self._reasons, FAILED)
            self._booted.audit.fault(FAILED, kind=type(bug).__name__, report=write_report(self._order, bug))
            self._booted.agent.kill(signal.SIGKILL)
            code = self._booted.agent.wait()
        self._clients.broadcast({"op": "ended", "code": code})
        self._settle(code)

    def stop(self, grace: float, keep: bool) -> None:
        """Ask the agent to end, and end it after `grace` seconds. Asking again counts from then."""
        self._booted.audit.record(events.STOP_REQUESTED, grace=grace, keep=keep)
        if keep and settle.OPERATOR not in self._reasons:
            self._reasons = (*self._reasons, settle.OPERATOR)
            try:
                self._booted.store.mark_preserved(self._order.identity, settle.OPERATOR)
            except (BottleError, OSError) as problem:  # the settlement knows it all the same
                self._booted.audit.fault("the record could not be written", why=str(problem))
        self._stopped = True
        for timer in self._timers:
            timer.cancel()
        kill = self._booted.agent.kill
        kill(signal.SIGTERM)
        kill(signal.SIGCONT)
        self._timers = [
            self._loop.later(grace * _HANG_UP_AFTER, lambda: kill(signal.SIGHUP)),
            self._loop.later(grace, lambda: kill(signal.SIGKILL)),
        ]

    def _watch(self, birth: socket.socket, woken: int) -> None:
        self._loop.watch(woken, READ, lambda _ready: self._signalled(woken))
        watch_exit(self._loop, self._booted.agent, self._loop.stop)
        if self._booted.gate:
            self._loop.watch(self._booted.gate.channel.fileno(), READ, lambda _ready: self._heard_gate())
            self._heard_gate()
            self._keep_fresh(self._order.gate.credentials if self._order.gate else ())
            self._judge_pushes()
        if self._order.backend.snapshot_seconds:
            from claude_bottle.keeper.snapshots import Snapshots

            self._snapshots = Snapshots(self._order, self._booted, self._order.backend.snapshot_seconds)
        self._birth = self._clients.adopt(birth)
        if self._order.io == PIPES:
            self._birth.on_close.append(lambda _: self._clients.drain_pipes())

    def _judge_pushes(self) -> None:
        gate = self._booted.gate
        if gate and gate.judges:
            from claude_bottle.keeper.judges import Judges

            place = self._order.paths.pushes(self._order.identity)
            judges = Judges(self._loop, gate.judges, place, self._booted.audit.fault)
            self._booted.everything.callback(judges.close)

    def _keep_fresh(self, credentials: Sequence[BoundCredential]) -> None:
        gate = self._booted.gate
        if gate and any(one.spec.ttl for one in credentials):
            from claude_bottle.keeper.credentials import Refresher, Values

            def tell(values: Values) -> None:
                gate.tell("credentials", values=values)

            self._refresher = Refresher(self._loop, credentials, self._order.credentials_read, tell, self._booted.audit)

    def _signalled(self, woken: int) -> None:
        if signal.SIGTERM in os.read(woken, 256):
            self.stop(DEFAULT_GRACE, keep=False)

    def _heard_gate(self) -> None:
        gate = self._booted.gate
        if gate is None or not gate.up:
            return
        for message in gate.messages():
            settle.record_gate_event(self._booted, message)
        if not gate.up:
            self._loop.unwatch(gate.channel.fileno())
            self._booted.audit.fault("the gate has ended", effect="the bottle has no network any more")
            if self._refresher:
                self._refresher.close()
            gate.end()

    def _settle(self, code: int) -> None:
        from claude_bottle.state.lock import held_here

        if self._snapshots:
            self._snapshots.finish()
        if self._refresher:
            self._refresher.close()
        # The name goes first: once the state is settled, it may belong to the next keeper of this identity.
        self._clients.close()
        settlement = settle.Settlement(self._order, self._booted, code, stopped=self._stopped, reasons=self._reasons)
        settled = settlement.run()
        lock = held_here(self._order.paths, self._order.identity)
        if lock:
            lock.release()  # before anyone is told that it may be resumed
        self._loop.later(_FAREWELL_SECONDS, self._loop.stop)
        if self._clients.farewell({"op": "settled", **settled.to_dict()}, self._loop.stop):
            self._loop.run()


def _session(booted: Booted) -> Session | None:
    if booted.terminal is None:
        return None
    from claude_bottle.keeper.session import Session

    return Session(booted.loop, booted.terminal, booted.recorder)


def write_report(order: Order, bug: BaseException) -> str:
    """Write what is known of a bug of ours under the state root; where, or "" if that failed too."""
    import time
    import traceback

    from claude_bottle import __version__
    from claude_bottle.redact import printable
    from claude_bottle.state.files import ensure_private_dir, write_atomic

    text = f"claude-bottle {__version__} keeper\n\n{''.join(traceback.format_exception(bug))}"
    path = order.paths.root / "reports" / time.strftime(f"keeper-%Y%m%d-%H%M%S-{os.getpid()}.txt")
    try:
        ensure_private_dir(path.parent)
        write_atomic(path, printable(without_secrets(order, text), keep_newlines=True).encode())
    except Exception:  # the report must never hide the bug
        return ""
    return str(path)


def without_secrets(order: Order, text: str) -> str:
    """`text` of an unexpected error, which may quote whatever was at hand, without the values of the credentials."""
    from claude_bottle.redact import Redactor

    bound = order.gate.credentials if order.gate else ()
    return Redactor(one.secret.reveal() for one in bound).text(text)


def _inherited(order: Order, birth: socket.socket) -> list[int]:
    """What of the CLI's descriptors the keeper needs: its lock, its birth, the agent's ends of the pipes and a second
    reader of its output. Not its stdin's writer: when the CLI goes, the agent shall see the end of its input."""
    from claude_bottle.state.lock import held_here

    kept = [birth.fileno()]
    lock = held_here(order.paths, order.identity)
    if lock:
        kept.append(lock.fileno())
    if order.pipes:
        kept += [*order.pipes.agent, *order.pipes.operator[1:]]
    return kept


def _as_error(order: Order, problem: BaseException) -> BottleError:
    if isinstance(problem, BottleError):
        return problem
    return BottleError("the bottle could not be started", why=without_secrets(order, f"{type(problem).__name__}: {problem}"),
                       more=write_report(order, problem))  # fmt: skip


def _tell(birth: socket.socket, message: dict[str, object]) -> bool:
    """Whether the CLI is still there to hear it."""
    try:
        birth.sendall(frames.encode_json(message))
    except OSError:
        return False
    return True
