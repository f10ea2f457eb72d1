"""What can happen to an identity: the closed list of journal kinds, and the frozen event that carries one.

The gate and the keeper make events, the journal writes them, everything that lists or follows reads them.
Data that came out of a bottle is hostile text: whoever shows it sanitises it. Secrets are never put into an
event.
"""

from __future__ import annotations

from claude_bottle.redact import printable
from claude_bottle.values import dataclass, field

CREATED = "created"  # the identity and its state directory exist
PLANNED = "plan"  # the plan that was confirmed: digest
LAUNCHED = "launched"  # the bottle is up, listeners are handed over, the gate is ready
AGENT_STARTED = "agent_started"
ATTACHED = "attached"
DETACHED = "detached"
EXEC = "exec"  # the operator ran a command inside
DECISION = "decision"  # the gate granted or refused a connection or request
TRAFFIC = "traffic"  # what a granted one led to: bytes up and down, milliseconds; same id
DNS = "dns"  # the gate answered or refused a name
CREDENTIAL_READ = "credential_read"  # on the host: the credential's name and source, never its value
SNAPSHOT = "snapshot"  # the transcript was copied out
STOP_REQUESTED = "stop_requested"
AGENT_EXITED = "agent_exited"
BOTTLE_DOWN = "bottle_down"
PRESERVED = "preserved"
ARCHIVED = "archived"
SETTLED = "settled"
RESUMED = "resumed"
CLEANED = "cleaned"
ASKED = "asked"  # a stuck agent asked for something: what, in our words
DECIDED = "decided"  # what became of a request, by whom
GRANTED = "granted"  # what was approved is in force
GRANT_ENDED = "grant_ended"  # it no longer is, and why
LAYER = "layer"  # an approved capability: its build began, wanted what is refused, failed, or is in the bottle (`state`)
REBOOTING = "rebooting"  # the bottle goes down to come up again, with another layer or back at a checkpoint
CHECKPOINT = "checkpoint"  # files and conversation were kept as they were: its name
REWOUND = "rewound"  # files and conversation are those of a checkpoint again
FORKED = "forked"  # this identity began as a checkpoint of another one
HOST_EDITS = "host_edits"  # the operator's directory was changed while a bottle's layer lay over it: paths, count
LIVE_TRIGGERS = "live_triggers"  # what runs on the host by itself was changed in a live workspace: trigger → count, paths
CARRIED_OVER = "carried_over"  # the operator took work out: by apply, export or pull; how much, and what was allowed
FAULT = "fault"  # one of our own parts failed
NOTE = "note"  # the journal about itself: repaired, or events lost while it could not be written
KINDS = frozenset({
    CREATED, PLANNED, LAUNCHED, AGENT_STARTED, ATTACHED, DETACHED, EXEC, DECISION, TRAFFIC, DNS,
    CREDENTIAL_READ, SNAPSHOT, STOP_REQUESTED, AGENT_EXITED, BOTTLE_DOWN, PRESERVED, ARCHIVED, SETTLED,
    RESUMED, CLEANED, ASKED, DECIDED, GRANTED, GRANT_ENDED, LAYER, REBOOTING, CHECKPOINT,
    REWOUND, FORKED, HOST_EDITS, LIVE_TRIGGERS, CARRIED_OVER, FAULT, NOTE,
})  # fmt: skip
EGRESS = frozenset({DECISION, TRAFFIC, DNS})
"""What the gate said: the part of a journal that `egress` shows."""
OF_GATES = EGRESS | {NOTE}
"""What a gate may have recorded: one that hostile bytes have taken over must not tell what operators did."""


@dataclass(frozen=True)
class Event:
    """Something that happened. `data` holds JSON values only. ValueError for a kind that is not in KINDS."""

    kind: str
    data: dict[str, object] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"unknown kind of event: {printable(str(self.kind), width=40)}")

    def to_dict(self) -> dict[str, object]:
        return {"kind": self.kind, "data": dict(self.data)}

    @staticmethod
    def from_dict(data: dict[str, object]) -> Event:
        """The inverse of `to_dict`. ValueError if it is no event."""
        kind, inner = data.get("kind"), data.get("data", {})
        if not isinstance(kind, str) or not isinstance(inner, dict):
            raise ValueError("not an event")
        return Event(kind, inner)
