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
from claude_bottle.keeper import beside, bounds, daemon, settle
from claude_bottle.keeper.birth import heard, tell
from claude_bottle.keeper.boot import boot, boot_again
from claude_bottle.keeper.clients import Clients
from claude_bottle.keeper.desk import Desk
from claude_bottle.keeper.gate_events import record_gate_event
from claude_bottle.keeper.loop import READ, watch_exit
from claude_bottle.keeper.order import PIPES
from claude_bottle.keeper.reboot import Rebooter
from claude_bottle.keeper.reports import as_error, write_report
from claude_bottle.keeper.undo import undo_launch
from claude_bottle.model import events
from claude_bottle.state.lock import held_here

if TYPE_CHECKING:
    from claude_bottle.keeper.beside import Beside
    from claude_bottle.keeper.boot import Booted
    from claude_bottle.keeper.control import Connection
    from claude_bottle.keeper.credentials import Refresher
    from claude_bottle.keeper.loop import Timer
    from claude_bottle.keeper.order import Order
    from claude_bottle.keeper.session import Session
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
    woken = daemon.detach(order.descriptors(birth))
    try:
        booted = boot(order)
    except BaseException as problem:
        _taken_back(order, birth, problem)
        return
    with booted.everything:
        keeper, failure = _keeper(order, booted)
        if keeper and tell(birth, {"op": "up", "pid": os.getpid(), "marks": log.marks()[before:]}) and heard(birth):
            keeper.serve(birth, woken)
            return
        # Nobody learnt that it is up (perhaps because nobody is left): the launch never happened.
        booted.everything.close()
        booted.bottle.release()
        _taken_back(order, birth, failure)


def _taken_back(order: Order, birth: socket.socket, failure: BaseException | None) -> None:
    """A launch that did not happen. Its lock goes before that is told: whoever hears it may try again at once."""
    undo_launch(order.paths, order.identity, order.former)
    _let_go(order)
    if failure:
        tell(birth, {"op": "error", "error": as_error(order, failure).to_dict()})


def _let_go(order: Order) -> None:
    if lock := held_here(order.paths, order.identity):
        lock.release()


def _keeper(order: Order, booted: Booted) -> tuple[Keeper | None, BaseException | None]:
    try:
        return Keeper(order, booted), None
    except BaseException as problem:
        return None, problem


class Keeper:
    """The serving part: what happens to the agent, the gate and the clients while the bottle is up. `order` and `booted`
    are those of the bottle's present life (see `reboot`): whoever needs them asks here, and keeps neither."""

    def __init__(self, order: Order, booted: Booted) -> None:
        self.order, self.booted, self._loop = order, booted, booted.loop
        self._session = _session(booted)
        self.rebooter = Rebooter(self)
        self._desk = Desk(order, booted, self._session, self.rebooter)
        self.clients = Clients(order, booted, self._session, self.stop, self.rebooter, self._desk)
        booted.everything.callback(self.clients.close)
        self._birth: Connection | None = None
        self._timers: list[Timer] = []
        self._beside: list[Beside] = []
        self._refresher: Refresher | None = None
        self._bounds: list[Timer] = []
        self._stopped = False
        self.reasons: tuple[str, ...] = (settle.OPERATOR,) if order.keep else ()

    def serve(self, birth: socket.socket, woken: int) -> None:
        """Until the agent has ended and everything is settled. A bug here ends in a settled bottle too."""
        up = True
        try:
            gc.enable()  # which the command line does without
            self._watch(birth, woken)
            self._loop.run()
            while up and self.rebooter.due and not self._stopped:
                up = self._reboot()
            code = self.booted.agent.wait()
            if self._session and up:
                self._session.finish(self._birth)
        except Exception as bug:
            self._fail(bug)
            self.booted.agent.kill(signal.SIGKILL)
            code = self.booted.agent.wait()
        self.clients.broadcast({"op": "ended", "code": code})
        self._settle(code, up)

    def stop(self, grace: float, keep: bool, reason: str = settle.OPERATOR) -> None:
        """Ask the agent to end, and end it after `grace` seconds. Asking again counts from then. `keep` for this `reason`."""
        self.booted.audit.record(events.STOP_REQUESTED, grace=grace, keep=keep, why=reason if keep else "")
        if keep and reason not in self.reasons:
            self.reasons = (*self.reasons, reason)
            try:
                self.booted.store.mark_preserved(self.order.identity, reason)
            except (BottleError, OSError) as problem:  # the settlement knows it all the same
                self.booted.audit.fault("the record could not be written", why=str(problem))
        self._stopped = True
        self.end_agent(grace)

    def _stop_beyond(self, bound: str) -> None:
        self.stop(DEFAULT_GRACE, keep=True, reason=bound)

    def end_agent(self, grace: float) -> None:
        """What `stop` does to the agent."""
        for timer in self._timers:
            timer.cancel()
        kill = self.booted.agent.kill
        kill(signal.SIGTERM)
        kill(signal.SIGCONT)
        self._timers = [
            self._loop.later(grace * _HANG_UP_AFTER, lambda: kill(signal.SIGHUP)),
            self._loop.later(grace, lambda: kill(signal.SIGKILL)),
        ]

    def let_go(self) -> None:
        """The agent has ended and its bottle goes down: stop watching what goes with it."""
        for timer in self._timers:
            timer.cancel()
        self._end_beside()
        self.clients.end_checkpoints()
        if self.booted.gate and self.booted.gate.up:
            self._loop.unwatch(self.booted.gate.channel.fileno())
        if self._session:
            self._session.interrupt(self.rebooter.notice)

    def begin_again(self, order: Order) -> None:
        """Boot the bottle's next life. BottleError as from a boot; nothing of that life is left then."""
        self.booted = boot_again(order, self.booted)
        self.order = order
        self.clients.renew(order, self.booted)
        self._desk.renew(order, self.booted)
        if self._session and self.booted.terminal:
            self._session.go_on(self.booted.terminal)
        if self._refresher:
            self._refresher.tell_expired()
        self._watch_bottle()

    def window(self) -> tuple[int, int]:
        """Rows and columns of the agent's terminal."""
        return self._session.window if self._session else (self.order.rows, self.order.cols)

    def fresh_credentials(self) -> tuple[BoundCredential, ...]:
        """Those of the gate with the values they have now."""
        bound = self.order.gate.credentials if self.order.gate else ()
        return self._refresher.current(bound) if self._refresher else bound

    def _reboot(self) -> bool:
        """Whether it has come up and ended again; else it is down, and all there is of it lies here."""
        try:
            self.rebooter.reboot()
        except Exception as problem:
            if isinstance(problem, BottleError):
                self.booted.audit.fault("the bottle did not come up again", why=f"{problem.what}: {problem.why}")
            else:
                self._fail(problem)
            why = f"{problem.what}: {problem.why}" if isinstance(problem, BottleError) else str(problem)
            self.reasons = (*self.reasons, f"did not come up again: {why}"[:500])
            return False
        self._loop.run()
        return True

    def _fail(self, bug: Exception) -> None:
        self.reasons = (*self.reasons, FAILED)
        self.booted.audit.fault(FAILED, kind=type(bug).__name__, report=write_report(self.order, bug))

    def _watch(self, birth: socket.socket, woken: int) -> None:
        self._loop.watch(woken, READ, lambda _ready: self._signalled(woken))
        self._watch_bottle()
        if self.booted.gate:
            self._keep_fresh(self.order.gate.credentials if self.order.gate else ())
        self._bounds = bounds.clock(self._loop, self.order, self._stop_beyond)
        self._birth = self.clients.adopt(birth)
        if self.order.io == PIPES:
            self._birth.on_close.append(lambda _: self.clients.drain_pipes())

    def _watch_bottle(self) -> None:
        watch_exit(self._loop, self.booted.agent, self._loop.stop)
        if self.booted.gate:
            self._loop.watch(self.booted.gate.channel.fileno(), READ, lambda _ready: self._heard_gate())
            self._heard_gate()
            if self.booted.gate.judges:
                from claude_bottle.keeper.judges import attend

                attend(self._loop, self.booted, self.order)
        self._beside = beside.begin(self.order, self.booted, self._desk.stand, self._turn_ended, self._stop_beyond)

    def _turn_ended(self) -> None:
        self.clients.checkpoints.turn_ended(self.order.plan.checkpoints)

    def _end_beside(self) -> None:
        while self._beside:
            self._beside.pop().finish()

    def _keep_fresh(self, credentials: Sequence[BoundCredential]) -> None:
        if any(one.spec.ttl for one in credentials):
            from claude_bottle.keeper.credentials import Refresher, Values

            def tell(values: Values) -> None:
                self._desk.refreshed(values)
                if self.booted.gate:
                    self.booted.gate.tell("credentials", values=values)

            self._refresher = Refresher(self._loop, credentials, self.order.credentials_read, tell, self.booted.audit)

    def _signalled(self, woken: int) -> None:
        if signal.SIGTERM in os.read(woken, 256):
            self.stop(DEFAULT_GRACE, keep=False)

    def heard(self, message: dict[str, object]) -> None:
        """One message of the gate: about requests, or for the journal."""
        if not self._desk.hear(message):
            record_gate_event(self.booted, message, self.order)

    def _heard_gate(self) -> None:
        gate = self.booted.gate
        if gate is None or not gate.up:
            return
        for message in gate.messages():
            self.heard(message)
        if not gate.up:
            self._loop.unwatch(gate.channel.fileno())
            self.booted.audit.fault("the gate has ended", effect="the bottle has no network any more")
            if self._refresher:
                self._refresher.close()
            gate.end()
            self._desk.gate_gone()

    def _settle(self, code: int, up: bool) -> None:
        self.rebooter.give_up("the session has ended")
        for bound in self._bounds:
            bound.cancel()
        self._end_beside()
        if self._refresher:
            self._refresher.close()
        self._desk.close()
        # The name goes first: once the state is settled, it may belong to the next keeper of this identity.
        self.clients.close()
        settlement = settle.Settlement(self.order, self.booted, code, stopped=self._stopped, reasons=self.reasons)
        settled = settlement.run() if up else settlement.finish_down()
        _let_go(self.order)  # before anyone is told that it may be resumed
        self._loop.later(_FAREWELL_SECONDS, self._loop.stop)
        if self.clients.farewell({"op": "settled", **settled.to_dict()}, self._loop.stop):
            self._loop.run()


def _session(booted: Booted) -> Session | None:
    if booted.terminal is None:
        return None
    from claude_bottle.keeper.session import Session

    return Session(booted.loop, booted.terminal, booted.recorder)
