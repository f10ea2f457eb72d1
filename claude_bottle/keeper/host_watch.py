"""Tells while a bottle runs what the host changes below its layer: the bottle sees that, mixed with its own.

Looks at the names and times of all of the directory, in a process of its own, and rests fifty times as long as that took: two
percent of one processor at most, every two seconds in a small project. What the bottle has the same, because it was applied
from it, is not told. May write the note for `ls` and nothing else.
"""

from __future__ import annotations

import json
import os
import signal
import time
from typing import TYPE_CHECKING

from claude_bottle.backend import childhood
from claude_bottle.backend import namespaces as ns
from claude_bottle.errors import BottleError
from claude_bottle.keeper.loop import READ
from claude_bottle.model import events
from claude_bottle.state import host_edits, host_note
from claude_bottle.state.marker import marker

if TYPE_CHECKING:
    from collections.abc import Callable

    from claude_bottle.keeper.boot import Booted
    from claude_bottle.keeper.loop import Timer
    from claude_bottle.keeper.order import Order
    from claude_bottle.state.layers import Layers

# The first look notes the names that were handed in: soon, but after the agent is on its way.
_FIRST_SECONDS, _LEAST_SECONDS, _MOST_SECONDS, _REST = 0.3, 2.0, 300.0, 50
_LIMIT, _NAMED = 16 << 20, 20


class HostWatch:
    """`stand` sets what the titles of attached terminals say while nothing else does. `finish` before the settlement looks
    itself."""

    def __init__(self, order: Order, booted: Booted, begun: Layers, stand: Callable[[str], None]) -> None:
        self._order, self._booted, self._begun, self._stand = order, booted, begun, stand
        self._known: list[str] | None = None
        self._pid = self._pidfd = self._result = -1
        self._began = 0.0
        self._fault = ""
        host_note.forget(order.paths, order.identity)
        self._timer: Timer = booted.loop.later(_FIRST_SECONDS, self._look)

    def finish(self) -> None:
        self._timer.cancel()
        if self._pid >= 0:
            signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)
            self._collect()

    def _look(self) -> None:
        self._began, keeper = time.monotonic(), os.getpid()
        self._result = os.memfd_create("host-edits", os.MFD_CLOEXEC)
        pid = os.fork()
        if pid == 0:
            childhood.run_child(lambda: _report(self._begun, self._result, keeper), lambda: self._result)
        self._pid, self._pidfd = pid, os.pidfd_open(pid)
        self._booted.loop.watch(self._pidfd, READ, lambda _ready: self._looked())

    def _looked(self) -> None:
        took = time.monotonic() - self._began
        said = self._collect()
        changed = said.get("changed")
        if isinstance(changed, list):
            self._tell(changed)
        elif str(said) != self._fault:
            self._fault = str(said)  # once, not at every look
            self._booted.audit.fault("changes of the host could not be looked for", why=str(said.get("why") or said)[:500])
        self._timer = self._booted.loop.later(min(max(_LEAST_SECONDS, took * _REST), _MOST_SECONDS), self._look)

    def _collect(self) -> dict[str, object]:
        self._booted.loop.unwatch(self._pidfd)
        os.waitpid(self._pid, 0)
        data = os.pread(self._result, _LIMIT, 0)
        os.close(self._pidfd)
        os.close(self._result)
        self._pid = self._pidfd = self._result = -1
        try:
            return dict(json.loads(data))
        except ValueError:
            return {"why": "the look was cut short"}

    def _tell(self, changed: list[str]) -> None:
        if changed == (self._known or []):
            self._known = changed
            return
        # What was changed before a resumption, its plan has said.
        said_before = self._known is None and self._order.former is not None
        new = [] if said_before else sorted(set(changed) - set(self._known or ()))
        self._known = changed
        try:
            host_note.save(self._order.paths, self._order.identity, changed)
        except BottleError as problem:
            self._booted.audit.problem(problem)
        if new:
            self._booted.audit.record(events.HOST_EDITS, count=len(changed), paths=new[:_NAMED])
        self._stand(self._title(changed) if changed else "")

    def _title(self, changed: list[str]) -> str:
        try:
            head = f"◆ {marker(self._order.paths)} · "
        except BottleError:
            head = ""  # damaged, which is told where a request waits
        return f"{head}{self._order.identity}: changed on the host below it: {host_edits.shown(changed)}"


def _report(begun: Layers, result: int, keeper: int) -> None:
    """The child's side: it holds nothing of the keeper's, and ends with it."""
    childhood.forget_signals()
    ns.prctl(ns.PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != keeper:
        os._exit(70)
    os.dup2(result, 0)
    ns.close_from(1)
    os.nice(10)
    changed = host_edits.unlike(begun, host_edits.edited(begun, note=True))
    with open(0, "wb", closefd=False) as said:
        said.write(json.dumps({"changed": changed}).encode())
    os._exit(0)
