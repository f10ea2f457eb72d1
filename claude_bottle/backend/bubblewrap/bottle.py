"""A running bubblewrap bottle: start programs in it, and end it so that nothing is left.

Holds the handles of one sandbox and of every program started in it. All waiting is on process descriptors,
all signals go through them, so a reused process id is never hit. `close` is safe at any time, from any
state, repeatedly.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
from collections.abc import Iterator, Mapping, Sequence

from claude_bottle.backend import standstill
from claude_bottle.backend.base import Bottle, Process
from claude_bottle.backend.bubblewrap import enter, launcher, terminals
from claude_bottle.backend.bubblewrap.launcher import Recipe, Sandbox
from claude_bottle.errors import BottleError
from claude_bottle.model.plan import BottlePlan


class BubblewrapProcess(Process):
    def __init__(self, pid: int, pidfd: int) -> None:
        self.pid, self.pidfd = pid, pidfd
        self._code: int | None = None

    def wait(self) -> int:
        if self._code is None:
            self._code = self._collect(0)
        return self._code if self._code is not None else 70

    def poll(self) -> int | None:
        if self._code is None:
            self._code = self._collect(os.WNOHANG)
        return self._code

    def _collect(self, flags: int) -> int | None:
        try:
            pid, status = os.waitpid(self.pid, flags)
        except ChildProcessError as taken:
            raise BottleError(f"lost the exit code of process {self.pid}", why="somebody else collected it") from taken
        if pid == 0:
            return None
        os.close(self.pidfd)
        code = os.waitstatus_to_exitcode(status)
        return code if code >= 0 else 128 - code

    def kill(self, sig: int) -> None:
        if self._code is None:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self.pidfd, sig)

    def kill_group(self, sig: int) -> None:
        """Signal its process group too; its id cannot have been reused while the process is uncollected."""
        if self._code is None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, sig)


class BubblewrapBottle(Bottle):
    def __init__(self, name: str, plan: BottlePlan, sandbox: Sandbox, recipe: Recipe) -> None:
        self.name = name
        self.plan, self._sandbox, self._recipe = plan, sandbox, recipe
        self.host_uid = recipe.host
        self.processes: list[Process] = []
        self._closed = False

    def spawn(
        self,
        argv: Sequence[str],
        *,
        env: Mapping[str, str],
        cwd: str = "/workspace",
        stdio: tuple[int, int, int],
        controlling_tty: bool = False,
    ) -> BubblewrapProcess:
        if self._closed:
            raise BottleError("cannot enter the bottle", why="it has been taken down")
        self.processes = [process for process in self.processes if process.poll() is None]
        words = self._recipe.programs.enter_command(list(argv))
        bounds, role = self._recipe.bounds, self._recipe.role
        command = enter.Command(words, env, cwd, stdio, controlling_tty, bounds, role)
        process = BubblewrapProcess(*enter.enter(self._sandbox.first_pidfd, command, self._recipe.program))
        self.processes.append(process)
        return process

    def open_pty(self) -> tuple[int, int]:
        if self._closed:
            raise BottleError("cannot open a terminal in the bottle", why="it has been taken down")
        return terminals.open_pair(self._sandbox.pts)

    def open_port(self, port: int) -> socket.socket:
        return enter.open_listener(self._sandbox.holder_pidfd, port)

    def alive(self) -> bool:
        return not self._closed and not select.select([self._sandbox.first_pidfd], [], [], 0)[0]

    def fileno(self) -> int:
        return self._sandbox.first_pidfd

    def out_of_memory(self) -> bool:
        group = self._recipe.bounds.group
        return not self._closed and group is not None and group.out_of_memory()

    @contextlib.contextmanager
    def standing_still(self) -> Iterator[None]:
        with standstill.standing_still(self._sandbox.first, [one.pid for one in self.processes if one.poll() is None]):
            yield

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        # Before the first process: what it takes with it sees its files go a moment before it is killed itself.
        for process in self.processes:
            process.kill(signal.SIGKILL)
        launcher.stop(self._sandbox)
        # The first process cannot finish dying before those that entered are collected, and only we can do
        # that.
        for process in self.processes:
            with contextlib.suppress(BottleError):
                process.wait()
        launcher.collect(self._sandbox)
