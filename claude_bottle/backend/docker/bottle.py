"""A running container bottle: start programs in it, fetch what it wrote, end it so that nothing is left.

Programs are started by the container's first process, which this module talks to over the one connection; the engine is
asked nothing until the bottle is removed. A program is followed over a socket of its own, which says when it ends or
closes when its bottle does. Files are read through the descriptors of the volumes, while it runs and after.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import select
import signal
import socket
import struct
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from claude_bottle.backend import standstill
from claude_bottle.backend.base import Bottle, Process
from claude_bottle.backend.docker import homecoming, memory, owners
from claude_bottle.backend.docker.program import Program
from claude_bottle.errors import BottleError
from claude_bottle.harness.base import HOME, WORKSPACE

if TYPE_CHECKING:
    from pathlib import Path

    from claude_bottle.backend.base import Boot
    from claude_bottle.backend.disk_usage import Usage
    from claude_bottle.backend.docker.engine import Engine
    from claude_bottle.backend.docker.launcher import Sandbox
    from claude_bottle.backend.docker.rundir import RunDir
    from claude_bottle.model.plan import BottlePlan

BIRTH_SECONDS = 30.0
# For the container's first process to end, and everything with it, once its connection is closed.
END_SECONDS = 10.0
_CREDENTIALS = struct.Struct("=iII")
_KILLED = 128 + signal.SIGKILL


class DockerProcess(Program):
    """Its descriptor is its socket: nothing arrives on it after its birth but its end, or the end of its bottle."""

    def __init__(self, status: socket.socket, pid: int) -> None:
        super().__init__(pid, status.fileno())
        self._status = status

    def _take(self) -> int:
        with self._status:
            return _exit_code(self._status)

    def _signal(self, sig: int, *, group: bool) -> None:
        with contextlib.suppress(OSError):
            self._status.send(json.dumps({"signal": int(sig), "group": group}).encode())


def _exit_code(status: socket.socket) -> int:
    """What its socket says; killed, when its bottle ended without a word."""
    try:
        try:
            said = status.recv(4096)
        except ConnectionResetError:
            # A signal that came too late was never read at the other end, which is told before what was said (unix(7)).
            said = status.recv(4096)
        code = json.loads(said)["code"]
    except (OSError, ValueError, KeyError, TypeError):
        return _KILLED
    return code if isinstance(code, int) and 0 <= code <= 255 else _KILLED


class DockerBottle(Bottle):
    def __init__(self, plan: BottlePlan, boot: Boot, sandbox: Sandbox, engine: Engine, owner: str, run_dir: RunDir) -> None:
        self.name = owners.container_name(boot.identity)
        self.plan, self._boot, self._sandbox, self._engine, self._owner = plan, boot, sandbox, engine, owner
        self._run_dir = run_dir
        self.host_uid = sandbox.uid if os.geteuid() == 0 else None
        self.processes: list[Process] = []
        self._ended = self._released = False
        self.used = False

    def spawn(
        self,
        argv: Sequence[str],
        *,
        env: Mapping[str, str],
        cwd: str = WORKSPACE,
        stdio: tuple[int, int, int],
        controlling_tty: bool = False,
    ) -> DockerProcess:
        self.processes = [process for process in self.processes if process.poll() is None]
        self._sandbox.started.collect()  # that has ended long ago
        self.used = True
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        command = {"argv": list(argv), "env": dict(env), "cwd": cwd, "tty": controlling_tty}
        payload = os.memfd_create("command")
        try:
            with theirs:
                _write_all(payload, json.dumps(command).encode())
                os.lseek(payload, 0, os.SEEK_SET)
                self._ask("cannot enter the bottle", {"op": "spawn"}, (payload, *stdio, theirs.fileno()))
            process = DockerProcess(ours, _birth(ours, argv[0]))
        except BaseException:
            ours.close()
            raise
        finally:
            os.close(payload)
        self.processes.append(process)
        return process

    def open_pty(self) -> tuple[int, int]:
        master, slave = self._ask("cannot open a terminal in the bottle", {"op": "open_pty"}, returns=2)
        return master, slave

    def open_port(self, port: int) -> socket.socket:
        what = f"cannot open port {port} in the bottle"
        return socket.socket(fileno=self._ask(what, {"op": "open_port", "port": port}, returns=1)[0])

    def alive(self) -> bool:
        return not self._ended and not select.select([self._sandbox.pidfd], [], [], 0)[0]

    def fileno(self) -> int:
        return self._sandbox.pidfd

    @contextlib.contextmanager
    def standing_still(self) -> Iterator[None]:
        with standstill.standing_still(self._sandbox.first, [one.pid for one in self.processes if one.poll() is None]):
            yield

    def close(self) -> None:
        if self._ended:
            return
        self._ended = True
        owners.foresee_removal(self._engine, self._owner, self._boot.identity, self._sandbox.cid)
        self._sandbox.control.close()
        if not select.select([self._sandbox.pidfd], [], [], END_SECONDS)[0]:
            self._engine.run(["kill", "--", self.name], check=False)
            if not select.select([self._sandbox.pidfd], [], [], END_SECONDS)[0]:
                raise BottleError(f"{self.name} does not end", do=f"{self._engine.program} rm --force {self.name}")

    def out_of_memory(self) -> bool:
        return not self._ended and memory.met_limit(
            self._engine, self._sandbox.cid, self._sandbox.first, self._sandbox.pidfd
        )

    def fetch_home(self, names: Sequence[str] = ()) -> Sequence[str]:
        without = [mount.target for mount in (*self.plan.mounts, *self._boot.mounts)]
        if names:
            return homecoming.fetch_names(self._sandbox.home, self._boot.home, HOME, without, names)
        notes = homecoming.fetch(self._sandbox.home, self._boot.home, HOME, without)
        if self._sandbox.work is not None:
            notes += homecoming.fetch(self._sandbox.work, self._boot.workspace, WORKSPACE, without)
        return notes

    def work(self) -> int | None:
        return None if self._ended or self._sandbox.work is None else os.dup(self._sandbox.work)

    def disk_usage(self, places: Sequence[Path], most: int) -> Usage:
        from claude_bottle.backend.disk_usage import Usage

        held = self._sandbox.home, self._sandbox.work, *self._sandbox.others
        volumes = [os.dup(volume) for volume in held if volume is not None]
        return Usage([*map(str, places), *volumes], most, self._sandbox.mounts)

    def release(self) -> None:
        if self._released:
            return
        self.close()
        owners.remove_ended(self._engine, self._owner, self._boot.identity, self._sandbox.cid)
        self._sandbox.let_go()
        self._run_dir.remove()
        self._released = True

    def _ask(self, what: str, order: dict[str, Any], fds: tuple[int, ...] = (), *, returns: int = 0) -> list[int]:
        if self._ended:
            raise BottleError(what, why="it has been taken down")
        return self._sandbox.control.ask(what, order, fds, returns=returns)


def _birth(status: socket.socket, program: str) -> int:
    """Wait until a program is about to be executed; its process id here. BottleError if that failed."""
    status.settimeout(BIRTH_SECONDS)
    try:
        data, ancillary, _, _ = status.recvmsg(4096, socket.CMSG_SPACE(_CREDENTIALS.size))
    except OSError as failure:
        why = "it is gone" if failure.errno == errno.ECONNRESET else "no answer in time"
        raise BottleError("cannot enter the bottle", why=why) from None
    finally:
        status.settimeout(None)
    said = json.loads(data) if data else {"why": "it is gone"}
    if said.get("op") != "born":
        raise BottleError(f"cannot run {program} in the bottle", why=str(said.get("why"))[:500])
    for level, kind, content in ancillary:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_CREDENTIALS):
            return int(_CREDENTIALS.unpack(content)[0])
    return 0


def _write_all(fd: int, content: bytes) -> None:
    while content:
        content = content[os.write(fd, content) :]
