"""The words between the gate's logic and its sockets: events go in, commands come out.

A conversation is one connection the bottle made, with the upstream connections opened for it. Its logic
(`conversation`, `http`, `tunnelling`) never touches a socket, a clock or the file system: the server feeds it events and
carries out its commands in order, and tests do the same with lists. A link is one connection; number 0 is the bottle's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from claude_bottle.gate.budget import Budget
from claude_bottle.values import dataclass, field

if TYPE_CHECKING:
    from claude_bottle.gate.desk import Wait
    from claude_bottle.gate.tls import Channel
    from claude_bottle.model.ssh_remote import SshRemote

CLIENT = 0


@dataclass(frozen=True, slots=True)
class Origin:
    """A place upstream: canonical host, port, and whether TLS is spoken to it. One key for dialling and for reuse. `ssh`: it
    is spoken to by somebody else, who takes HTTP from here and speaks ssh to it."""

    host: str
    port: int
    tls: bool
    ssh: SshRemote | None = None


# Events


@dataclass(slots=True)
class Received:
    """Bytes from the wire. `data` may be a view of a shared buffer: valid only while the event is handled."""

    link: int
    data: bytes | bytearray | memoryview


@dataclass(slots=True)
class Ended:
    """The peer will send nothing more."""

    link: int


@dataclass(slots=True)
class Lost:
    """The connection is gone, both ways."""

    link: int


@dataclass(slots=True)
class Dialled:
    """A dial succeeded. `channel` is set for a connection that was used before and comes from the pool."""

    link: int
    channel: Channel | None = None


@dataclass(slots=True)
class DialFailed:
    """`reason` is one of the policy's reasons, `detail` one phrase."""

    link: int
    reason: str
    detail: str


@dataclass(slots=True)
class Clogged:
    """More than the high-water mark is waiting to be sent on the link."""

    link: int


@dataclass(slots=True)
class Drained:
    """What was waiting has been sent."""

    link: int


@dataclass(slots=True)
class Again:
    """The turn a `Yield` asked for."""


@dataclass(slots=True)
class Expired:
    """The timer ran out."""


@dataclass(slots=True)
class Spliced:
    """A tunnel has ended; bytes that went up and down, `why` is empty for an ordinary end."""

    up: int
    down: int
    why: str = ""


@dataclass(slots=True)
class Judged:
    """The policy has changed: what is under way is judged again."""


@dataclass(slots=True)
class Told:
    """There is news of something a command `Await` named."""

    wait: Wait


Event = Received | Ended | Lost | Dialled | DialFailed | Clogged | Drained | Again | Expired | Spliced | Judged | Told


# Commands


@dataclass(slots=True)
class Write:
    """Send. `data` must be sent or copied before the next event is handled."""

    link: int
    data: bytes | bytearray | memoryview


@dataclass(slots=True)
class Close:
    """Send what is waiting, then end the link without losing it (linger for the peer)."""

    link: int


@dataclass(slots=True)
class Abort:
    """End the link now, whatever is waiting."""

    link: int


@dataclass(slots=True)
class Pause:
    link: int


@dataclass(slots=True)
class Resume:
    link: int


@dataclass(slots=True)
class Dial:
    """Open a link to `origin`. `fresh`: not one from the pool."""

    link: int
    origin: Origin
    fresh: bool = False


@dataclass(slots=True)
class Judge:
    """Open a link to a fresh judge of pushes."""

    link: int


@dataclass(slots=True)
class Release:
    """The link is idle and may serve another conversation."""

    link: int
    origin: Origin
    channel: Channel


@dataclass(slots=True)
class Splice:
    """Join the client and `link` in the kernel; the conversation only hears `Spliced` (and `Judged`) after this. What goes
    up counts against `budget`, which ends it with the reason `budget_spent`."""

    link: int
    budget: Budget = field(default_factory=Budget, compare=False)


@dataclass(slots=True)
class Timer:
    """Expire after `seconds`; None: never. `idle`: every byte on any link starts it anew."""

    seconds: float | None
    idle: bool = False


@dataclass(slots=True)
class Yield:
    """Enough for now: let others have their turn, then continue with `Again`."""


@dataclass(slots=True)
class Record:
    """One event for the journal."""

    kind: str
    data: dict[str, object]


@dataclass(slots=True)
class Tell:
    """A message to the keeper."""

    op: str
    data: dict[str, object]


@dataclass(slots=True)
class Await:
    """Have `Told` come, in a later turn, whenever there is news of `wait`."""

    wait: Wait


@dataclass(slots=True)
class Cut:
    """End the tunnel that was spliced; `Spliced` follows with this reason."""

    why: str


Command = (
    Write | Close | Abort | Pause | Resume | Dial | Judge | Release | Splice | Timer | Yield | Record | Tell | Await | Cut
)
