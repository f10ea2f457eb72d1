"""Looks at a whole directory again and again beside the keeper's loop, in a process of its own.

It rests fifty times as long as a look took: two percent of one processor at most, every two seconds in a small project. What
is looked for and what is made of it is the caller's.
"""

from __future__ import annotations

import json
import os
import signal
import time
from typing import TYPE_CHECKING

from claude_bottle.backend import childhood
from claude_bottle.backend import namespaces as ns
from claude_bottle.keeper.loop import READ

if TYPE_CHECKING:
    from collections.abc import Callable

    from claude_bottle.keeper.boot import Booted
    from claude_bottle.keeper.loop import Timer

# The first look is soon, but after the agent is on its way.
_FIRST_SECONDS, _LEAST_SECONDS, _MOST_SECONDS, _REST = 0.3, 2.0, 300.0, 50
_LIMIT = 16 << 20


class Looking:
    """`look` runs in the child and says what it saw, as JSON values; `told` hears it in the keeper. `failed` is what the
    journal says when there is nothing to hear."""

    def __init__(
        self, booted: Booted, look: Callable[[], object], told: Callable[[object], None], failed: str
    ) -> None:
        self._booted, self._look_at, self._told, self._failed = booted, look, told, failed
        self._pid = self._pidfd = self._result = -1
        self._began = 0.0
        self._fault = ""
        self._timer: Timer = booted.loop.later(_FIRST_SECONDS, self._look)

    def finish(self) -> None:
        self._timer.cancel()
        if self._pid >= 0:
            signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)
            self._collect()

    def _look(self) -> None:
        self._began, keeper = time.monotonic(), os.getpid()
        try:
            self._result = os.memfd_create("look", os.MFD_CLOEXEC)
            pid = os.fork()
        except OSError as problem:  # this machine is short of something; it may not be later
            if self._result >= 0:
                os.close(self._result)
                self._result = -1
            self._say(problem.strerror or str(problem))
            self._timer = self._booted.loop.later(_MOST_SECONDS, self._look)
            return
        if pid == 0:
            childhood.run_child(lambda: _report(self._look_at, self._result, keeper), lambda: self._result)
        self._pid, self._pidfd = pid, os.pidfd_open(pid)
        self._booted.loop.watch(self._pidfd, READ, lambda _ready: self._looked())

    def _looked(self) -> None:
        took = time.monotonic() - self._began
        said = self._collect()
        if "seen" in said:
            self._told(said["seen"])
        else:
            self._say(str(said.get("why") or said))
        self._timer = self._booted.loop.later(min(max(_LEAST_SECONDS, took * _REST), _MOST_SECONDS), self._look)

    def _say(self, why: str) -> None:
        """Once, not at every look."""
        if why != self._fault:
            self._fault = why
            self._booted.audit.fault(self._failed, why=why[:500])

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


def _report(look: Callable[[], object], result: int, keeper: int) -> None:
    """The child's side: it holds nothing of the keeper's, and ends with it."""
    childhood.forget_signals()
    ns.prctl(ns.PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != keeper:
        os._exit(70)
    os.dup2(result, 0)
    ns.close_from(1)
    os.nice(10)
    seen = look()
    with open(0, "wb", closefd=False) as said:
        said.write(json.dumps({"seen": seen}).encode())
    os._exit(0)
