"""The requests of one running bottle, as its keeper holds them: every step is written, then done, then told.

An approval is on disk before the gate hears of it and a grant only after the gate has said that it is in force, so a crash
between the two is finished by the next boot, exactly once. What ends a grant is done whether or not it can be written. May
touch this identity's `requests.json` and its journal; what is approved is carried out by `Granting`.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from claude_bottle.errors import BottleError
from claude_bottle.keeper import inbox_file
from claude_bottle.keeper.granting import Granting
from claude_bottle.model import events
from claude_bottle.model.changes import CredentialChange
from claude_bottle.model.requests import APPLIED, Request
from claude_bottle.redact import printable
from claude_bottle.state.record import timestamp
from claude_bottle.supervise import decision, resuming, wording
from claude_bottle.supervise.cautions import Surroundings
from claude_bottle.supervise.render import lines

if TYPE_CHECKING:
    from collections.abc import Callable

    from claude_bottle.keeper.boot import Booted
    from claude_bottle.keeper.loop import Timer
    from claude_bottle.keeper.order import Order
    from claude_bottle.keeper.reboot_contract import Reboots
    from claude_bottle.supervise.inbox import Inbox

# A request that nobody decides for so long is not waited for any more.
REQUEST_SECONDS = 24 * 3600.0
RETRY_SECONDS = 3.0
# The loop's clock stands still while the machine sleeps, that of leases does not: look again now and then.
_LOOK_SECONDS = 60.0
_REASON_KEPT = 300
_KNOWN_TO_GATES = 32
_PROGRESS_SECONDS = 0.5


class Requests:
    """`on_change`: called after every change with the request it is about, or None."""

    def __init__(self, order: Order, booted: Booted, rebooter: Reboots) -> None:
        self.order, self.booted, self.rebooter = order, booted, rebooter
        carried = order.inbox or inbox_file.fresh(order.identity)
        self.inbox, self.leases = carried.inbox, carried.leases
        self.on_change: list[Callable[[Request | None], None]] = []
        self.granting = Granting(self)
        self.progress: dict[str, str] = {}
        """The last line of a build under way, by its request."""
        self._telling: Timer | None = None
        self._timer: Timer | None = None
        self._unsaved: Timer | None = None
        if order.inbox and (self.inbox.requests or self.inbox.grants):
            self.keep(self.inbox)
        for note in carried.notes:
            booted.audit.record(events.DECIDED, durable=True, by="resume", what=note)
        for request in carried.rebuild:
            booted.loop.later(0, partial(self.granting.build_again, request))
        self._tell_all()
        self.look_again()

    def renew(self, order: Order, booted: Booted) -> None:
        """The bottle has booted again, in this keeper: its gate began with what is granted and knows no request yet."""
        self.order, self.booted = order, booted
        self.progress = {}
        self.granting.renew(order, booted)
        self._tell_all()

    def close(self) -> None:
        """The bottle is ending: what waits is over, and nothing more is counted."""
        self.granting.close()
        for timer in (self._timer, self._unsaved, self._telling):
            if timer:
                timer.cancel()
        after = resuming.ended(self.inbox)
        if after != self.inbox:
            self.inbox = after
            try:
                inbox_file.save(self.order.paths, after, self.leases)
            except (BottleError, OSError) as problem:
                self.booted.audit.fault("the requests could not be written", why=str(problem))

    def surroundings(self) -> Surroundings:
        gate, rules, granting = self.order.gate, self.granting.rules, self.granting
        named = gate.upstreams if gate else {}
        upstreams = {place: f"{one.connect_host}:{one.connect_port}" for place, one in named.items()}
        return Surroundings(self.inbox.revision, rules, granting.line.ports, upstreams, granting.vault.places(rules))

    def operator_named(self) -> tuple[tuple[str, int], ...]:
        return tuple(self.order.gate.upstreams) if self.order.gate else ()

    # What an agent, or the operator in its place, brings about

    def submit(self, request: Request) -> None:
        """One more that waits. BottleError when it cannot be taken; nothing has happened then."""
        superseded = self.inbox.superseded_by(request.change)
        self.keep(self.inbox.submit(request))
        self.leases.begin(request.id, REQUEST_SECONDS)
        self.look_again()
        self.booted.audit.record(events.ASKED, id=request.id, asks=request.change.kind, what=lines(request.change)[:20],
                                 via=request.via, reason=printable(request.reason, width=_REASON_KEPT))  # fmt: skip
        for one in superseded:
            self.changed(one.id)
        self._announce(request)

    # What is decided

    def reject(self, request: str, shown: str, why: str) -> Request:
        """BottleError when it is not what was shown, or cannot be written."""
        decision.check_shown(self.inbox, request, shown)
        said = printable(why, keep_newlines=True)[:2000]
        self.keep(self.inbox.reject(request, said or "the operator said no", timestamp()))
        self.booted.audit.record(events.DECIDED, durable=True, id=request, decision="rejected", by=decision.OPERATOR,
                                 why=said)  # fmt: skip
        return self.changed(request)

    # Writing, telling, counting

    def changed(self, request: str | None) -> Request:
        """Tell the gate how a request stands, and everyone who follows that something has changed."""
        found = self.inbox.find(request) if request else None
        gate = self.booted.gate
        if found and gate and gate.up:
            gate.tell("request", id=found.id, state=found.state, text=self.text(found))
        self._announce(found)
        return found  # type: ignore[return-value]  # whoever asks about one gets one

    def progressed(self, request: str, line: str) -> None:
        """One line of a build, for whoever follows; a build says more than a person reads, who sees the last one."""
        self.progress = {request: line}
        if self._telling is None:
            self._telling = self.booted.loop.later(_PROGRESS_SECONDS, self._tell_progress)

    def _tell_progress(self) -> None:
        self._telling = None
        self._announce(None)

    def _tell_all(self) -> None:
        """A gate that has just begun hears of the requests before, so that the agent can ask for them."""
        gate = self.booted.gate
        for one in self.inbox.requests[-_KNOWN_TO_GATES:] if gate and gate.up else ():
            gate.tell("request", id=one.id, state=one.state, text=self.text(one))  # type: ignore[union-attr]

    def _announce(self, request: Request | None) -> None:
        for call in list(self.on_change):
            call(request)

    def text(self, request: Request) -> str:
        """What the agent is told of it."""
        change = request.approved or request.change
        bound = self.granting.vault.bound.get(change.name) if isinstance(change, CredentialChange) else None
        return wording.text(request, bound if request.state == APPLIED else None)

    def keep(self, after: Inbox) -> None:
        """Write it, then go on with it. BottleError when it cannot be written: then nothing has happened."""
        inbox_file.save(self.order.paths, after, self.leases)
        self.inbox = after

    def keep_surely(self, after: Inbox) -> None:
        """Go on with it, and write it as soon as that is possible."""
        self.inbox = after
        try:
            inbox_file.save(self.order.paths, after, self.leases)
        except BottleError as problem:
            self.booted.audit.problem(problem)
            if self._unsaved:
                self._unsaved.cancel()
            self._unsaved = self.booted.loop.later(RETRY_SECONDS, lambda: self.keep_surely(self.inbox))

    def look_again(self) -> None:
        if self._timer:
            self._timer.cancel()
        self._timer = self.booted.loop.later(self.leases.pause(_LOOK_SECONDS), self._look)

    def _look(self) -> None:
        """What is over by now."""
        ended: dict[str, str] = {}
        for name in self.leases.over():
            request, grant = self.inbox.find(name), self.inbox.grant(name)
            if any(one.id == name for one in self.granting.coming):
                self.leases.begin(name, 1.0)  # once it is in force
                continue
            self.leases.forget(name)
            if grant and not grant.ended:
                ended[name] = "its time is over"
            elif request in self.inbox.waiting:
                self.keep_surely(self.inbox.expire(name, "nobody decided in time"))
                self.booted.audit.record(events.DECIDED, id=name, decision="expired")
                self.changed(name)
        if ended:
            self.granting.end(ended)
        self.look_again()
