"""What the CLI hands to a keeper: one launch, complete, before the fork that makes the keeper.

Plain data and open descriptors, nothing is looked up again afterwards. It carries secrets (inside `gate`), so it
exists in memory only and is never written, printed or sent anywhere.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from claude_bottle.values import dataclass, field

if TYPE_CHECKING:
    import socket

    from claude_bottle.backend.base import Backend, Begun, Outlet
    from claude_bottle.gate.config import GateConfig
    from claude_bottle.harness.base import Harness, Launch
    from claude_bottle.keeper.inbox_file import Carried
    from claude_bottle.model.credentials import CredentialSpec
    from claude_bottle.model.plan import BottlePlan, Mount
    from claude_bottle.state.paths import Paths
    from claude_bottle.state.record import BottleRecord

Serve = Callable[["socket.socket", "socket.socket | None", "GateConfig"], object]

PTY, PIPES = "pty", "pipes"


@dataclass(frozen=True)
class Pipes:
    """The agent's stdin, stdout and stderr for `run`: `agent` are its three ends, `operator` ours (write, read, read).

    Made before the fork, so the CLI moves the bytes itself and the keeper is not in their way.
    """

    agent: tuple[int, int, int]
    operator: tuple[int, int, int]

    @classmethod
    def make(cls) -> Pipes:
        (in_read, in_write), (out_read, out_write), (err_read, err_write) = os.pipe(), os.pipe(), os.pipe()
        return cls((in_read, out_write, err_write), (in_write, out_read, err_read))

    def give_to(self, uid: int | None) -> None:
        """Let a program of another uid (None: our own) open its ends by name, as in `echo problem > /dev/stderr`."""
        if uid is not None:
            for fd in self.agent:
                os.fchown(fd, uid, -1)

    def close_agent(self) -> None:
        for fd in self.agent:
            os.close(fd)

    def close_operator(self) -> None:
        for fd in self.operator:
            try:
                os.close(fd)
            except OSError:
                pass  # stdin is closed early, at its end of file


@dataclass(frozen=True)
class Order:
    """One launch. The caller holds the identity's lock; `record` is what is on disk now.

    `former` is the record as it was before a resume, which a failed launch brings back; None for a first start, whose
    state a failed launch removes. `argv` and `env` are the agent's, whole. `roots` are the PEM roots that programs
    inside trust beside the bottle's own CA. `gate` None: no gate, no listeners, no network. `ports` are listeners
    beyond the usual ones. `rows`, `cols`: the first window size.
    `forked`: its workspace is already that of a checkpoint. `keep`: preserve the state whatever the agent's exit code.
    `credentials_read`: when those of `gate` were read, by `credentials.now`. `serve` is the gate's main function where it
    is not the product's. `inbox`: what a resumed bottle has of requests and grants, which `gate` has already; None for
    nothing. `offered`: the credentials of the bottle's manifest, for those it may ask for. `notify`: the command that is
    told of every request. `outlet` is the way out of what is built while the bottle runs. `reasons`: why the state is to be
    kept already, of a bottle that boots again in its keeper. `begun`: what the backend is doing for this launch already.
    """

    paths: Paths
    plan: BottlePlan
    record: BottleRecord
    backend: Backend
    harness: Harness
    launch: Launch
    argv: tuple[str, ...]
    workspace: Path
    env: Mapping[str, str] = field(default_factory=dict)
    former: BottleRecord | None = None
    gate: GateConfig | None = None
    ports: tuple[int, ...] = ()
    mounts: tuple[Mount, ...] = ()
    roots: bytes = b""
    io: str = PTY
    rows: int = 24
    cols: int = 80
    pipes: Pipes | None = None
    keep: bool = False
    forked: bool = False
    credentials_read: float = 0.0
    serve: Serve | None = None
    inbox: Carried | None = None
    offered: Mapping[str, tuple[CredentialSpec, ...]] = field(default_factory=dict)
    notify: tuple[str, ...] = ()
    outlet: Outlet | None = None
    reasons: tuple[str, ...] = ()
    begun: Begun | None = None

    @property
    def identity(self) -> str:
        return self.record.identity

    def descriptors(self, birth: socket.socket) -> list[int]:
        """What of the CLI's descriptors the keeper needs: its lock, its birth, the agent's ends of the pipes and a second
        reader of its output. Not its stdin's writer: when the CLI goes, the agent shall see the end of its input."""
        from claude_bottle.state.lock import held_here

        kept = [birth.fileno()]
        lock = held_here(self.paths, self.identity)
        if lock:
            kept.append(lock.fileno())
        if self.begun:
            kept += self.begun.descriptors()
        if self.pipes:
            kept += [*self.pipes.agent, *self.pipes.operator[1:]]
        return kept

    @property
    def inspects(self) -> bool:
        """Whether the gate looks into TLS, or may have to later, so that the bottle needs its CA."""
        return self.gate is not None


@dataclass(frozen=True)
class Up:
    """A launched bottle: its keeper, and a control connection that was made before it could end."""

    identity: str
    keeper: int
    connection: socket.socket
