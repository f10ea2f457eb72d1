"""A running bottle on an engine that may run on another machine: programs over the wire, files through the engine.

Each program's streams are moved by the wire's thread to and from the caller's descriptors; signals and window sizes go the
same way, so nothing is ever started in the container but by its first process. What the agent wrote comes out as the
engine's tar streams, read by `export`.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from claude_bottle.backend.base import BASE_ENV, Bottle, Process
from claude_bottle.backend.docker import export, homecoming, memory, owners, reader
from claude_bottle.backend.docker.bottle import BIRTH_SECONDS, END_SECONDS
from claude_bottle.backend.docker.launcher import facts
from claude_bottle.backend.docker.program import Program
from claude_bottle.backend.tree import opened
from claude_bottle.errors import BottleError
from claude_bottle.harness.base import HOME, WORKSPACE
from claude_bottle.state.beneath import make_dirs_beneath, plain_parts
from claude_bottle.state.removal import remove_tree

if TYPE_CHECKING:
    from claude_bottle.backend.base import Boot
    from claude_bottle.backend.disk_usage import Usage
    from claude_bottle.backend.docker.apart import Attached
    from claude_bottle.backend.docker.channel import Channel
    from claude_bottle.backend.docker.engine import Engine
    from claude_bottle.backend.docker.rundir import RunDir
    from claude_bottle.backend.docker.wire import Wire
    from claude_bottle.model.plan import BottlePlan


class ApartProcess(Program):
    """`pid` is its number on this host where the container is on it, else 0."""

    def __init__(self, wire: Wire, channel: Channel, pid: int) -> None:
        super().__init__(pid, channel.done)
        self._wire, self._channel = wire, channel

    def _take(self) -> int:
        os.close(self.pidfd)
        return 128 + signal.SIGKILL if self._channel.code is None else self._channel.code

    def _signal(self, sig: int, *, group: bool) -> None:
        self._wire.instruct(self._channel, signal=int(sig), group=group)


class _Terminal:
    """One of `open_pty`: its size, and the program that has it."""

    def __init__(self) -> None:
        self.rows, self.cols = 24, 80
        self.channel: Channel | None = None


class ApartBottle(Bottle):
    """See `Bottle`."""

    def __init__(self, plan: BottlePlan, boot: Boot, attached: Attached, engine: Engine, owner: str, run_dir: RunDir) -> None:
        self.name = owners.container_name(boot.identity)
        self.plan, self._boot, self._attached, self._engine, self._owner = plan, boot, attached, engine, owner
        self._run_dir = run_dir
        self.processes: list[Process] = []
        self._terminals: dict[int, _Terminal] = {}
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
    ) -> ApartProcess:
        self.processes = [process for process in self.processes if process.poll() is None]
        self.used = True
        if self._ended:
            raise BottleError("cannot enter the bottle", why="it has been taken down")
        terminal = self._terminals.get(os.fstat(stdio[0]).st_ino, _Terminal()) if controlling_tty else None
        command = {"argv": list(argv), "env": dict(env), "cwd": cwd, "tty": terminal is not None}
        if terminal:
            command |= {"rows": terminal.rows, "cols": terminal.cols}
        try:
            channel = self._attached.wire.start(command, stdio[:2] if terminal else stdio, BIRTH_SECONDS)
        except BottleError as failure:
            raise BottleError(f"cannot run {argv[0]} in the bottle", why=failure.what) from None
        if terminal:
            terminal.channel = channel
        process = ApartProcess(self._attached.wire, channel, self._pid_here(int(channel.born["pid"])))
        self.processes.append(process)
        return process

    def _pid_here(self, inside: int) -> int:
        """The number that a child of the first process has on this host; 0 where it is not on it."""
        first = self._attached.first
        if not first:
            return 0
        with contextlib.suppress(OSError, KeyError):
            for child in Path(f"/proc/{first}/task/{first}/children").read_text().split():
                if facts(int(child))["NSpid"].split()[-1] == str(inside):
                    return int(child)
        return 0

    def open_pty(self) -> tuple[int, int]:
        if self._ended:
            raise BottleError("cannot open a terminal in the bottle", why="it has been taken down")
        master, slave = socket.socketpair()
        terminal = _Terminal()
        self._terminals = {number: one for number, one in self._terminals.items()
                           if one.channel is None or one.channel.code is None}  # fmt: skip
        for end in (master, slave):
            self._terminals[os.fstat(end.fileno()).st_ino] = terminal
        return master.detach(), slave.detach()

    def resize(self, master: int, rows: int, cols: int) -> None:
        terminal = self._terminals.get(os.fstat(master).st_ino)
        if terminal:
            terminal.rows, terminal.cols = rows, cols
            if terminal.channel:
                self._attached.wire.instruct(terminal.channel, op="resize", rows=rows, cols=cols)

    def exec_claude(self, args: Sequence[str], tty: bool = True) -> int:
        if not tty or not os.isatty(0):
            return super().exec_claude(args, tty)
        argv, env = [*self.plan.command, *args], {**BASE_ENV, **self.plan.env}
        with _raw_terminal() as size:
            own = _Terminal()
            own.rows, own.cols = size
            self._terminals[os.fstat(0).st_ino] = own
            process = self.spawn(argv, env=env, stdio=(0, 1, 2), controlling_tty=True)
            before = signal.signal(signal.SIGWINCH, lambda *_: self.resize(0, *_size()))
            try:
                return process.wait()
            finally:
                signal.signal(signal.SIGWINCH, before)

    def open_port(self, port: int) -> socket.socket:
        raise BottleError(f"cannot open port {port} in the bottle for this host", why="its gate runs in a container")

    def hand_port(self, port: int, nonce: str) -> None:
        what = f"cannot open port {port} in the bottle"
        if self._ended:
            raise BottleError(what, why="it has been taken down")
        command = {"argv": [], "tty": False, "port": port, "nonce": nonce}
        with open(os.devnull, "r+b") as null:
            try:
                channel = self._attached.wire.start(command, (null.fileno(),) * 3, BIRTH_SECONDS)
            except BottleError as failure:
                raise BottleError(what, why=failure.what) from None
        ApartProcess(self._attached.wire, channel, 0).wait()

    def alive(self) -> bool:
        return not self._ended and not self._attached.wire.gone and not select.select([self.fileno()], [], [], 0)[0]

    def fileno(self) -> int:
        return self._attached.pidfd

    def close(self) -> None:
        if self._ended:
            return
        self._ended = True
        self._attached.wire.close()
        gone = select.select([self._attached.pidfd], [], [], END_SECONDS)[0]
        if not gone or self._attached.client.wait() < 0:
            # Its client was killed, or waits in vain: the container may not have heard.
            self._engine.run(["kill", "--", self._attached.cid], check=False)
            self._engine.run(["wait", "--", self._attached.cid], check=False, timeout=END_SECONDS)

    def out_of_memory(self) -> bool:
        return not self._ended and memory.met_limit(
            self._engine, self._attached.cid, self._attached.first, self._attached.pidfd
        )

    def fetch_home(self, names: Sequence[str] = ()) -> Sequence[str]:
        if names:
            return self._fetch_names(names)
        volumes = [reader.Volume(f"{self.name}-home", self._boot.home)]
        if self._attached.private:
            volumes.append(reader.Volume(f"{self.name}-work", self._boot.workspace))
        return reader.bring(self._engine, volumes)

    def _fetch_names(self, names: Sequence[str]) -> Sequence[str]:
        """What lies at `names` into a directory beside the home, and from there name by name, as from a volume."""
        with temporary_beside(self._boot.home) as place:
            fetched, notes = place / "home", list[str]()
            fetched.mkdir()
            try:
                with opened(fetched) as held:
                    for name in names:
                        self._fetch_name(held, name)
            except BottleError:
                # As the engine hands it out it may be too much, or never end: all of the home, then, which costs a container.
                notes = reader.bring(self._engine, [reader.Volume(f"{self.name}-home", fetched)])
            with opened(fetched) as held:
                return [*notes, *homecoming.fetch_names(held, self._boot.home, HOME, (), names)]

    def _fetch_name(self, held: int, name: str) -> None:
        *parents, _ = plain_parts(name)
        below = make_dirs_beneath(held, "/".join(parents))
        try:
            export.copy_name(self._engine, self._attached.cid, f"{HOME}/{name}", below)
        finally:
            os.close(below)

    def disk_usage(self, places: Sequence[Path], most: int) -> Usage:
        from claude_bottle.backend.docker.volume_usage import VolumeUsage

        return VolumeUsage([str(place) for place in places], most, self._engine, self._owner, self._boot.identity)

    def release(self) -> None:
        if self._released:
            return
        self.close()
        for process in self.processes:
            process.wait()
        self._attached.let_go()
        owners.remove(self._engine, owners.find(self._engine, self._owner, self._boot.identity))
        self._run_dir.remove()
        self._released = True


@contextmanager
def temporary_beside(home: Path) -> Iterator[Path]:
    """A directory beside the home, of whatever depth what is written there may become."""
    place = Path(tempfile.mkdtemp(prefix=".fetched-", dir=home.parent))
    try:
        yield place
    finally:
        remove_tree(place)


def _size() -> tuple[int, int]:
    found = os.get_terminal_size(0)
    return found.lines or 24, found.columns or 80


@contextmanager
def _raw_terminal() -> Iterator[tuple[int, int]]:
    """Our own terminal hands every key through, as to a program on it; its size."""
    import termios
    import tty

    before = termios.tcgetattr(0)
    tty.setraw(0)
    try:
        yield _size()
    finally:
        termios.tcsetattr(0, termios.TCSADRAIN, before)
