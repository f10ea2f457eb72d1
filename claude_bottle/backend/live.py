"""A running bottle, as everything above the backends has it in hand: start programs in it, open a port in it, end it.

What a program's end, its signals and its exit codes mean is the same in every backend; how it got in is each one's own.
"""

from __future__ import annotations

import select
import signal
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from claude_bottle.errors import BottleError

if TYPE_CHECKING:
    import socket
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from claude_bottle.backend.disk_usage import Usage
    from claude_bottle.model.plan import BottlePlan

# The same inside every bottle of every backend, so that a conversation can be resumed anywhere (contract §5).
USER, UID, GID = "agent", 1000, 1000
HOSTNAME = "bottle"
# What every program in a bottle is told; the plan's and the harness's variables come on top.
BASE_ENV = {
    "HOME": "/home/agent",
    "USER": USER,
    "LOGNAME": USER,
    "PATH": "/home/agent/.local/bin:/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin",
}


class Process(ABC):
    """A program running in a bottle, as the keeper sees it. Where it is a child of the calling process, nobody else may
    reap it."""

    pid: int
    """Its process id on the host, for people; 0 where this host knows none."""
    pidfd: int
    """Becomes and stays readable when it has ended; for selectors. A process descriptor, or whatever else tells the end.
    Owned by this object, closed once the exit code is collected."""

    @abstractmethod
    def wait(self) -> int:
        """Block until it has ended; its exit code, or 128 + signal. May be called again."""

    @abstractmethod
    def poll(self) -> int | None:
        """The same without blocking; None while it runs."""

    @abstractmethod
    def kill(self, sig: int) -> None:
        """Send a signal to it (only it). A process that has ended is left alone."""

    @abstractmethod
    def kill_group(self, sig: int) -> None:
        """Send a signal to its process group, whose number is its own as long as nobody has collected it."""


class Bottle(ABC):
    """A running sandbox. Everything started in it has the same user, namespaces, filters and no
    capabilities."""

    name: str
    plan: BottlePlan
    processes: list[Process]
    """What `spawn` has started and nobody has seen end."""
    host_uid: int | None = None
    """Who its programs are on this host, where that is not ourselves: the owner that pipes handed to them need."""

    @abstractmethod
    def spawn(
        self,
        argv: Sequence[str],
        *,
        env: Mapping[str, str],
        cwd: str = "/workspace",
        stdio: tuple[int, int, int],
        controlling_tty: bool = False,
    ) -> Process:
        """Start a program inside. Its environment is exactly `env`, its descriptors exactly `stdio`; with
        `controlling_tty` stdio[0] is a pty slave (see `open_pty`) that becomes its session's terminal. A program that cannot
        be executed ends with 127 (not found) or 126, as a shell would say. BottleError when the bottle is
        gone or the way in failed."""

    @abstractmethod
    def open_pty(self) -> tuple[int, int]:
        """A new terminal for a program inside: (master, slave), both ours to close and closed on exec.

        The slave is for `spawn`, three times its stdio with `controlling_tty`; the master never enters the bottle. Both
        are for reading and writing; the window's size is set by `resize`. The terminal is of the bottle's own /dev/pts
        and belongs to its user, so that `tty`, `script`, `tmux` and `ssh` find it by its name. BottleError when the
        bottle is gone or has used up its terminals.
        """

    def resize(self, master: int, rows: int, cols: int) -> None:
        """Give the terminal of this master a window size, before or after a program has it."""
        import fcntl
        import struct
        import termios

        fcntl.ioctl(master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, cols, 0, 0))

    def exec(self, argv: Sequence[str], *, env: Mapping[str, str] | None = None, cwd: str = "/workspace") -> int:
        """Run a program on our own stdin, stdout and stderr until it ends; its exit code, or 128 + signal.
        `env` None: BASE_ENV and the plan's."""
        chosen = {**BASE_ENV, **self.plan.env} if env is None else env
        return self.spawn(argv, env=chosen, cwd=cwd, stdio=(0, 1, 2)).wait()

    def exec_claude(self, args: Sequence[str], tty: bool = True) -> int:
        """Run the plan's agent command with `args` appended, on our own stdio; `tty` makes fd 0 its
        terminal."""
        argv, env = [*self.plan.command, *args], {**BASE_ENV, **self.plan.env}
        return self.spawn(argv, env=env, stdio=(0, 1, 2), controlling_tty=tty).wait()

    @abstractmethod
    def open_port(self, port: int) -> socket.socket:
        """Another TCP listener (0.0.0.0:port) in the running bottle's network, for a live grant of a new
        port."""

    def hand_port(self, port: int, nonce: str) -> None:
        """The same where the gate is elsewhere, too: the listener is handed to whoever waits for this nonce where the first
        ones were. Only for a backend that has such gates. BottleError when it could not be."""
        raise BottleError(f"cannot open port {port} in the bottle", why="its gate is on this host")

    @abstractmethod
    def alive(self) -> bool:
        """Whether the sandbox still stands (its first process runs)."""

    @abstractmethod
    def fileno(self) -> int:
        """Becomes readable when the sandbox has gone down, by whatever cause; for selectors."""

    def terminate(self, grace: float) -> None:
        """Ask every program inside to end (SIGTERM, then SIGHUP), give them `grace` seconds, then `close`."""
        # A program that handles SIGTERM shall not be cut short by SIGHUP; interactive shells heed only the latter.
        for sig in (signal.SIGTERM, signal.SIGHUP):
            for process in self.processes:
                process.kill_group(sig)
                process.kill_group(signal.SIGCONT)
            deadline = time.monotonic() + grace / 2
            for process in self.processes:
                if process.poll() is None:
                    select.select([process.pidfd], [], [], max(0.0, deadline - time.monotonic()))
        self.close()

    @abstractmethod
    def close(self) -> None:
        """End everything inside at once and wait until nothing of it runs any more. May be called again."""

    def out_of_memory(self) -> bool:
        """Whether the kernel has ended a program of this bottle because the bottle used up its memory. Known until
        `close`; False where nobody counts."""
        return False

    def disk_usage(self, places: Sequence[Path], most: int) -> Usage:
        """Says how much is held by `places`, directories of this host, and by what else programs inside can fill that lies
        elsewhere than in `Boot` (volumes); who asks wants to know whether it is more than `most` bytes. Nothing of the
        bottle has a say in it. Whoever has it closes it, before `release`."""
        from claude_bottle.backend.disk_usage import Usage

        return Usage([str(place) for place in places], most)

    @contextmanager
    def standing_still(self) -> Iterator[None]:
        """While the block runs no program inside does, so that its files can be copied as they are at one moment. Here: they
        run on."""
        yield

    def fetch_home(self, names: Sequence[str] = ()) -> Sequence[str]:
        """Bring what the agent wrote to the host: into `Boot.home` the files and directories beneath `names` (relative
        to the home), or with none all of the home, and the private workspace into `Boot.workspace`.

        Works while the bottle runs and after `close`, until `release`. What comes out of a bottle is hostile: nothing
        outside those two directories is ever written, no link followed. What is too deep is left out, and returned, one
        line each; BottleError when the rest could not be brought whole. Here, where both lie on the host's own disk, there
        is nothing to bring.
        """
        return ()

    def work(self) -> int | None:
        """A descriptor of the private workspace while the bottle runs, for a reader on this host, who closes it. None: it
        is `Boot.workspace` or a layer, or cannot be read from here (see `Backend.fetch_work`)."""
        return None

    def release(self) -> None:  # noqa: B027
        """After `close`: remove what outlives it (a container, its volumes). Whoever calls it has fetched all that
        matters. May be called again; what is already gone is no error."""
