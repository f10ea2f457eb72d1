"""A program in a container, as the keeper follows it: by a descriptor that tells its end, and a line that takes signals.

What differs between a container on this host and one elsewhere is only what lies behind those two: a socket of the
program's own, or a channel of the one wire.
"""

from __future__ import annotations

import select
from abc import abstractmethod

from claude_bottle.backend.base import Process


class Program(Process):
    """`pidfd` becomes readable once it has ended, or its bottle has."""

    def __init__(self, pid: int, pidfd: int) -> None:
        self.pid, self.pidfd = pid, pidfd
        self._code: int | None = None

    @abstractmethod
    def _take(self) -> int:
        """Its exit code, once `pidfd` is readable. Closes `pidfd`; called once."""

    @abstractmethod
    def _signal(self, sig: int, *, group: bool) -> None:
        """Pass a signal on, to it or to its process group. One that has just ended is left alone."""

    def wait(self) -> int:
        if self._code is None:
            select.select([self.pidfd], [], [])
            self._code = self._take()
        return self._code

    def poll(self) -> int | None:
        if self._code is None and select.select([self.pidfd], [], [], 0)[0]:
            self._code = self._take()
        return self._code

    def kill(self, sig: int) -> None:
        if self._code is None:
            self._signal(sig, group=False)

    def kill_group(self, sig: int) -> None:
        if self._code is None:
            self._signal(sig, group=True)
