"""A bottle that is no sandbox: plain processes behind the backend contract.

It keeps what the keeper relies on: programs start with exactly the given words, variables and descriptors, are children of
the caller, die with it, and are gone when the bottle is closed. Their home and workspace are the host's directories, which
have other names than in a real bottle.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import os
import signal
import socket
import termios
from collections.abc import Mapping, Sequence
from typing import NoReturn

from claude_bottle.backend.base import Boot, Bottle, Process
from claude_bottle.errors import BottleError
from claude_bottle.model.plan import BottlePlan

_PR_SET_PDEATHSIG = 1


class FakeProcess(Process):
    def __init__(self, pid: int) -> None:
        self.pid, self.pidfd = pid, os.pidfd_open(pid)
        self._code: int | None = None

    def wait(self) -> int:
        code = self._collect(0)
        return 70 if code is None else code

    def poll(self) -> int | None:
        return self._collect(os.WNOHANG)

    def _collect(self, flags: int) -> int | None:
        if self._code is None:
            pid, status = os.waitpid(self.pid, flags)
            if pid:
                code = os.waitstatus_to_exitcode(status)
                self._code = code if code >= 0 else 128 - code
                os.close(self.pidfd)
        return self._code

    def kill(self, sig: int) -> None:
        if self._code is None:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self.pidfd, sig)

    def kill_group(self, sig: int) -> None:
        if self._code is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, sig)


class FakeBottle(Bottle):
    def __init__(self, plan: BottlePlan, boot: Boot) -> None:
        self.name, self.plan, self.boot = boot.identity, plan, boot
        self.programs: list[str] = []  # directories that come first in every PATH: the programs of its layers
        self.processes: list[Process] = []
        self._down, self._up = os.pipe()

    def spawn(
        self,
        argv: Sequence[str],
        *,
        env: Mapping[str, str],
        cwd: str = "/workspace",
        stdio: tuple[int, int, int],
        controlling_tty: bool = False,
    ) -> FakeProcess:
        if not self.alive():
            raise BottleError("cannot enter the bottle", why="it has been taken down")
        told, tell = os.pipe()
        pid = os.fork()
        if pid == 0:
            self._become(list(argv), env, cwd, stdio, controlling_tty, tell)
        os.close(tell)
        with os.fdopen(told, "rb") as end:
            failure = end.read()  # until the program's exec closes it
        if failure:
            os.waitpid(pid, 0)
            raise BottleError(f"cannot run {argv[0]} in the bottle", why=failure.decode())
        process = FakeProcess(pid)
        self.processes.append(process)
        return process

    def open_pty(self) -> tuple[int, int]:
        return os.openpty()

    def open_port(self, port: int) -> socket.socket:
        try:
            return socket.create_server(("127.0.0.1", port))
        except OSError as failure:
            raise BottleError(f"cannot open port {port} in the bottle", why=os.strerror(failure.errno or 0)) from failure

    def alive(self) -> bool:
        return self._up >= 0

    def fileno(self) -> int:
        return self._down

    def close(self) -> None:
        if self._up < 0:
            return
        os.close(self._up)
        self._up = -1
        for process in self.processes:
            process.kill_group(signal.SIGKILL)
            process.wait()
        os.close(self._down)

    def _become(
        self, argv: list[str], env: Mapping[str, str], cwd: str, stdio: tuple[int, int, int], tty: bool, tell: int
    ) -> NoReturn:
        """The child's side of the fork. What fails before exec is told; what fails at exec ends as a shell would."""
        try:
            for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
                signal.signal(number, signal.SIG_DFL)
            parked = [fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 64) for fd in (*stdio, tell)]
            for place, fd in enumerate(parked[:3]):
                os.dup2(fd, place)
            tell = parked[3]
            os.closerange(3, tell)
            os.closerange(tell + 1, os.sysconf("SC_OPEN_MAX"))
            os.setsid()
            if tty:
                fcntl.ioctl(0, termios.TIOCSCTTY, 0)
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
            os.umask(0o022)
            os.chdir(self.boot.workspace if cwd == "/workspace" else cwd)
        except OSError as failure:
            os.write(tell, os.strerror(failure.errno or 0).encode())
            os._exit(70)
        try:
            # A home of its own name is what this backend cannot give; without one in `env` the program gets none.
            home = {"HOME": str(self.boot.home)} if "HOME" in env else {}
            if self.programs:
                home["PATH"] = ":".join([*self.programs, env.get("PATH", os.defpath)])
            try:
                os.execvpe(argv[0], argv, {**env, **home})
            except OSError as failure:
                if failure.errno != errno.ENOEXEC:
                    raise
                os.execvpe("/bin/sh", ["sh", *argv], {**env, **home})
        except OSError as failure:
            os._exit(127 if failure.errno == errno.ENOENT else 126)
        finally:
            os._exit(126)
