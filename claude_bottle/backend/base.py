"""The backend contract: where a bottle runs, and what everything above may do with a running one.

Two types: a `Backend` is the place (can it run here, what will be started, start it), a `Bottle` is the
running sandbox (start programs in it, open a port in it, end it). Nothing above this package names a
backend; whatever one of them cannot do is an error type, never a branch on its name. Implementations
register in `registry`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

from claude_bottle.backend.live import BASE_ENV, GID, HOSTNAME, UID, USER, Bottle, Process
from claude_bottle.errors import BottleError, Refused
from claude_bottle.values import dataclass, replace

if TYPE_CHECKING:
    import socket
    from collections.abc import Mapping
    from pathlib import Path

    from claude_bottle.backend.protected import Guard
    from claude_bottle.harness.base import Program, Progress
    from claude_bottle.manifest import Manifest
    from claude_bottle.model.capability import Capability
    from claude_bottle.model.plan import BottlePlan, Mount
    from claude_bottle.model.policy import Rule

__all__ = ["BASE_ENV", "GID", "HOSTNAME", "UID", "USER", "Backend", "Begun", "Boot", "Bottle", "BottleSpec", "Check",
           "GateCommand", "Images", "Outlet", "Process", "Way"]  # fmt: skip


@dataclass(frozen=True)
class BottleSpec:
    """What the operator asked for: which agent of which manifest, what to do with the directory they stand
    in, and what to pass to the agent. `headless`: without a terminal. `resume_of`: the identity whose
    conversation goes on. `layers`: capabilities it has been granted beside those of its manifest."""

    manifest: Manifest
    agent_name: str
    copy_cwd: bool = False
    user_cwd: Path | None = None
    args: tuple[str, ...] = ()
    remote_control: bool = False
    headless: bool = False
    resume_of: str | None = None
    layers: tuple[Capability, ...] = ()


@dataclass(frozen=True)
class Check:
    """One thing a backend needs. `state`: ok, weaker, missing, or absent (optional, and not
    installed); `fix` is the exact command or text to
    install."""

    name: str
    state: str
    detail: str
    fix: str = ""

    def to_dict(self) -> dict[str, str]:
        return {"name": self.name, "state": self.state, "detail": self.detail, "fix": self.fix}


@dataclass(frozen=True)
class Overlay:
    """A workspace over `source`, which is only read: what is written goes to the directory `upper` in `place`, which has an
    empty `work` besides. `below`: names in `place` of layers that lie between, newest first, only read too."""

    source: Path
    place: Path
    below: tuple[str, ...] = ()


@dataclass(frozen=True)
class Boot:
    """The run-time values of one launch: nothing of it is in a plan or its digest.

    `home` is the identity's private home on the host, `workspace` the directory shown at /workspace: both
    read-write, both real paths (one that passes through a link is refused). `mounts` (the agent program) come
    on top of the plan's. `registration` is a connected Unix socket to the gate; the listeners of spec A plus
    one for each of `ports` go over it with `nonce`. None: no listeners, the bottle simply has no network.
    `ca_bundle` is the PEM bundle that programs inside shall trust (system roots plus the bottle's own CA);
    empty: none at all. While the gate still makes its CA it is a function, for a backend to call when it can do no more
    without. `copy_from`: the directory whose copy the private workspace is to begin as, without what its
    `.dockerignore` leaves out. `begun`: what `Backend.begin` has sent on its way for this launch.
    `overlay`: shown at /workspace in the place of `workspace`, where `no_overlay` has nothing against it.
    `guards`: what of a live workspace is not to be written, each in force before anything foreign runs.
    """

    identity: str
    home: Path
    workspace: Path
    registration: socket.socket | None = None
    nonce: str = ""
    ports: tuple[int, ...] = ()
    ca_bundle: bytes | Callable[[], bytes] = b""
    mounts: tuple[Mount, ...] = ()
    copy_from: Path | None = None
    begun: Begun | None = None
    overlay: Overlay | None = None
    guards: tuple[Guard, ...] = ()

    def bundle(self) -> bytes:
        """The PEM bundle; waits for it if it is still being made. BottleError when it cannot be."""
        return self.ca_bundle() if callable(self.ca_bundle) else self.ca_bundle


class Begun(ABC):
    """A launch that is on its way before all of it is known; nothing foreign runs in it."""

    @abstractmethod
    def descriptors(self) -> tuple[int, ...]:
        """What the process that goes on with it must keep open."""

    @abstractmethod
    def hand_over(self) -> None:
        """Close what is open of it here: another process goes on with it."""

    @abstractmethod
    def abandon(self) -> None:
        """Take it back, so that nothing of it is left, unless a launch has gone on with it."""


@dataclass(frozen=True)
class GateCommand:
    """A command that runs a gate, and its whole environment. Neither holds a secret. `line`, with a name after it, is one
    whose stdin and stdout are passed to the running gate as what it knows by that name."""

    argv: tuple[str, ...]
    env: Mapping[str, str]
    line: tuple[str, ...] = ()


@dataclass(frozen=True)
class Way:
    """A gate made for one build. `registration`, `nonce` and `bundle` are for `Boot`; the gate grants what was asked of the
    outlet and nothing else. `refused()`: what the build wanted beyond that, a sentence each, sanitised."""

    registration: socket.socket
    nonce: str
    bundle: Callable[[], bytes]
    refused: Callable[[], tuple[str, ...]]


# Makes the only way out of a build: `with outlet(name, rules) as way`. The gate is gone when the block is left. A backend
# whose builds have a network of their own does not use it.
Outlet = Callable[[str, tuple["Rule", ...]], AbstractContextManager[Way]]


class Images(ABC):
    """The images of a backend that makes its bottles from some, or its layers."""

    layers_only = False
    """They are layers, on this host's disk."""

    @abstractmethod
    def build(self, base: str | None, program: Program | None, progress: Progress) -> str:
        """Make the default image with this agent program, if it is not there; its name. `base`: from this image, from
        now on; None: from the one last chosen. BottleError with the end of what the build said."""

    @abstractmethod
    def list(self) -> list[dict[str, object]]:
        """Those that claude-bottle made: name, id, size (bytes), created (text), newest first."""

    @abstractmethod
    def remove(self, name: str) -> bool:
        """Remove one of them; False when something still uses it."""


class Backend(ABC):
    """One kind of place. Stateless; `get_bottle_backend(name)` makes one.

    What a dead keeper left in a place is found again by identity: `recover`, `remove` and `leftovers` have nothing to
    do where nothing outlives the keeper, which is the default here.
    """

    name: str
    snapshot_seconds: float | None = None
    """How often the conversation is fetched and archived while the agent runs; None: home lies on the host's disk."""
    @property
    def files_are_here(self) -> bool:
        """Whether a running bottle's home and private workspace lie on this host's disk, where they can be looked at."""
        return self.snapshot_seconds is None

    def no_overlay(self, source: str, state_root: str) -> str:
        """Why no layer kept in `state_root` can lie over the directory `source` here, in words; "" if one can (it is then
        `Boot.overlay`)."""
        return f"{self.name} has none"

    def foresee(self) -> None:  # noqa: B027
        """This backend has been named, and a plan is likely to be asked of it: what its place answers late may be asked
        now. Never raises."""

    @abstractmethod
    def prepare(self, spec: BottleSpec, *, stage_dir: Path) -> BottlePlan:
        """The plan for `spec`. Touches nothing but `stage_dir`. BottleError for whatever the manifest gets
        wrong."""

    @abstractmethod
    def check(self) -> list[Check]:
        """What works here and the exact fix for what does not; for `doctor`. Never raises, leaves nothing
        behind."""

    @abstractmethod
    def require(self) -> None:
        """Return if a bottle can be started here with every protection, else raise EnvironmentLacks."""

    def begin(self, plan: BottlePlan, mounts: tuple[Mount, ...]) -> Begun | None:
        """Send on its way what takes long and needs no more than this to be known; the caller holds the identity's lock, its
        record is on disk, and `launch` of the same plan and `mounts` (see `Boot`) follows, in this process or a fork of it.
        None: all of it is begun by `launch`. BottleError as there."""
        return None

    def launch(self, plan: BottlePlan, *, boot: Boot | None = None) -> AbstractContextManager[Bottle]:
        """Start the sandbox; it is up when the block is entered and gone when it is left, whatever happened. Without
        `boot` it has no network, and a home that goes with it (`planning.standalone`).

        Call it from the main thread of the process that owns the bottle: when that thread ends, by whatever
        cause, the sandbox ends with it. EnvironmentLacks when a protection cannot be set up, else BottleError.
        """
        if boot is not None:
            return self._launch(plan, boot)
        from claude_bottle.backend import planning

        return planning.standalone(self, plan)

    @abstractmethod
    def _launch(self, plan: BottlePlan, boot: Boot) -> AbstractContextManager[Bottle]:
        """See `launch`: the backend's own part of it."""

    def provide(self, spec: BottleSpec, plan: BottlePlan, progress: Progress) -> None:  # noqa: B027
        """Get what a launch of `plan` needs and may take minutes to get (an image); every step is told."""

    def with_layer(self, plan: BottlePlan, capability: Capability) -> BottlePlan:
        """The plan with one more layer, built or not. Pure but for looking at this host. Refused for a capability that
        this backend never can build."""
        raise Refused(f"{self.name} builds no layers", why=capability.describe(), do="choose another backend")

    def below(self, plan: BottlePlan, count: int) -> BottlePlan:
        """The same plan with its first `count` layers only."""
        return replace(plan, layers=plan.layers[:count])

    def build_layer(
        self, plan: BottlePlan, capability: Capability, progress: Progress, outlet: Outlet
    ) -> BottlePlan:  # fmt: skip
        """Build a layer on top of all that `plan` has (its own layers are there), and return the plan with it.

        Content-addressed: what is there is not built again, and then it costs milliseconds. A build reaches what
        `Layer.reaches` of the new plan says. A bottle that runs is not touched, nor is what was built before. BottleError
        with the end of what the build said, sanitised; nothing is left behind then. What a build makes is hostile.
        Everything that the plan's lower layers, and this one, need at launch is kept until `Images.remove`.
        """
        raise Refused(f"{self.name} builds no layers", why=capability.describe(), do="choose another backend")

    def images(self) -> Images | None:
        """Its images; None where bottles are not made from any."""
        return None

    def gate_command(self, plan: BottlePlan) -> GateCommand | None:
        """Where this plan's gate does not run on this host: the command that starts it elsewhere, its stdin and stdout
        being the gate's control channel (the first line down is the gate's configuration). None: it runs here. The
        listeners then find their gate without `Boot.registration`, which only says that there is one."""
        return None

    def end_gate(self, plan: BottlePlan) -> None:  # noqa: B027
        """The program of `gate_command` has ended: make sure that the gate has, too. May be called again."""

    def fetch_work(self, identity: str, place: Path) -> None:
        """Copy the private workspace of a running bottle to `place`, where it lies elsewhere and its keeper has no way to
        show it (`Bottle.work`). Nothing inside is asked or run. BottleError when not all of it came."""
        raise BottleError(f"the files of {identity} cannot be read while it runs")

    def recover(self, identity: str, home: Path, workspace: Path) -> None:  # noqa: B027
        """The keeper of `identity` is dead (the caller holds its lock): end what still runs of it, fetch its home and
        private workspace, remove its objects. BottleError keeps everything that could not be fetched."""

    def remove(self, identity: str) -> None:  # noqa: B027
        """Remove every object of `identity`, fetched or not: the operator wants it gone."""

    def leftovers(self) -> tuple[str, ...]:
        """The identities of this installation that have objects in this place; () where it cannot be asked."""
        return ()
