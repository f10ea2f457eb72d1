"""What is known of one bottle, as it is kept on disk, and whether its keeper still lives.

A record is frozen; `to_dict`/`from_dict` are its only other shape, and `from_dict` takes no key or type it
does not know: a schema change bumps SCHEMA and adds a function to MIGRATIONS. A process is never known by its
pid alone: pids are reused, so start time (proc_pid_stat(5), field 22) and boot id must match too. A
NamedTuple and no dataclass, because `ls` loads this (see `paths`).
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from claude_bottle.errors import BottleError
from claude_bottle.patterns import regex

if TYPE_CHECKING:
    from claude_bottle.model.capability import Capability

SCHEMA = 3

# Stored statuses. The first three need a living keeper; without one they read as `interrupted`.
STARTING, RUNNING, SETTLING, PRESERVED, SETTLED = "starting", "running", "settling", "preserved", "settled"
INTERRUPTED = "interrupted"
_LIVE = (STARTING, RUNNING, SETTLING)
STATUSES = (*_LIVE, PRESERVED, SETTLED)

# Where conversations lie below an agent's home, unless its harness says otherwise.
CONVERSATION = (".claude/projects",)

# Names, times, digests: what is printed as it is. Paths and reasons may be anything and are made printable where they are.
_WORD = regex(r"[A-Za-z0-9._:+-]{0,200}")
_LONGEST = 4096  # PATH_MAX
_SHOWN = 80
_MOST_LAYERS = 64

Migration = Callable[[dict[str, object]], dict[str, object]]
# MIGRATIONS[n] turns a record of schema n+1 into one of schema n+2.
MIGRATIONS: tuple[Migration, ...] = (
    lambda values: values,  # 2 knows where the journal ends; what is missing has its default
    lambda values: values,  # 3 knows the layers that the bottle was granted
)


class NewerSchema(BottleError):
    """State written by a later version. It may be looked at, never changed."""


class BadRecord(ValueError):
    """Not a record; the text says what is wrong with it."""


class ProcessId(NamedTuple):
    """One process of one boot: what a pid alone is not. `start_time` is in clock ticks since boot."""

    pid: int
    start_time: int
    boot_id: str


class JournalHead(NamedTuple):
    """The last line of a journal, its number and its hash: what shows that its end was cut off."""

    seq: int
    hash: str


class BottleRecord(NamedTuple):
    """One launched bottle. Times are RFC 3339 in UTC, "" where not yet known.

    `preserved` holds the reasons why the state is kept; `manifests` the absolute paths of the manifest files
    it was planned from; `cwd` the operator's directory at start; `session_id` the harness's conversation;
    `conversation` the directories below its home whose `*.jsonl` files are conversation; `host_uid` who the
    agent is on this host; `journal` where the journal ended when the bottle was preserved; `layers` the capabilities it
    was granted while it ran, in order: every boot has them, beside those of its manifest.
    """

    identity: str
    agent: str
    harness: str
    backend: str
    status: str = STARTING
    plan_digest: str = ""
    created: str = ""
    ended: str = ""
    exit_code: int | None = None
    preserved: tuple[str, ...] = ()
    session_id: str = ""
    cwd: str = ""
    manifests: tuple[str, ...] = ()
    conversation: tuple[str, ...] = CONVERSATION
    keeper: ProcessId | None = None
    host_uid: int | None = None
    journal: JournalHead | None = None
    layers: tuple[Capability, ...] = ()
    schema: int = SCHEMA

    def to_dict(self) -> dict[str, object]:
        data: dict[str, object] = {"schema": self.schema}
        for name, value in zip(self._fields, self, strict=True):
            if isinstance(value, (ProcessId, JournalHead)):
                data[name] = value._asdict()
            elif name == "layers":
                data[name] = [layer.to_dict() for layer in self.layers]
            else:
                data[name] = list(value) if isinstance(value, tuple) else value
        return data

    @classmethod
    def from_dict(cls, data: object, *, migrations: Sequence[Migration] = MIGRATIONS) -> BottleRecord:
        """The record in a decoded JSON value of this schema or an older one.

        NewerSchema for a later one; BadRecord saying what is wrong for anything else.
        """
        values = migrate(data, migrations)
        values["schema"] = SCHEMA
        unknown = values.keys() - set(cls._fields)
        missing = _REQUIRED - values.keys()
        if unknown or missing:
            raise BadRecord(f"unknown keys {shown(sorted(unknown))}, missing keys {sorted(missing)}")
        for name, value in values.items():
            values[name] = _CHECKS[name](name, value)
        record = cls(**values)  # type: ignore[arg-type]  # each value has just been checked against its field
        if record.status not in STATUSES:
            raise BadRecord(f"unknown status {shown(record.status)}")
        return record


def migrate(data: object, migrations: Sequence[Migration]) -> dict[str, object]:
    """`data` brought from its own schema to `len(migrations) + 1`, step by step."""
    if not isinstance(data, dict):
        raise BadRecord("not a JSON object")
    schema, newest = data.get("schema"), len(migrations) + 1
    if type(schema) is not int or schema < 1:
        raise BadRecord(f"no schema number but {shown(schema)}")
    if schema > newest:
        raise NewerSchema(
            "this state was written by a newer claude-bottle",
            why=f"its schema is {shown(schema)}, this version knows up to {newest}",
            do="use the newer claude-bottle for it; nothing was changed",
        )
    values = dict(data)
    for step in migrations[schema - 1 :]:
        values = step(values)
    return values


def this_process() -> ProcessId:
    """Who we are, for `BottleRecord.keeper`."""
    pid = os.getpid()
    start_time = start_time_of(pid)
    if start_time is None:
        raise BottleError(
            "cannot tell when this process started",
            why=f"/proc/{pid}/stat is not readable",
            do="mount /proc: claude-bottle cannot tell its processes apart without it",
        )
    return ProcessId(pid, start_time, boot_id())


def is_alive(process: ProcessId | None) -> bool:
    """Whether this very process runs now, in this boot. A zombie or another process of the same pid is not
    it."""
    if process is None or process.pid <= 0 or process.boot_id != boot_id():
        return False
    return start_time_of(process.pid) == process.start_time


def start_time_of(pid: int) -> int | None:
    """Start time of a living process in clock ticks since boot; None for a missing or ended one."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as stat:
            # The command name stands in parentheses and may hold anything, so read from behind the last one.
            fields = stat.read(4096).rpartition(b")")[2].split()
    except OSError:
        return None
    if len(fields) < 20 or fields[0] in (b"Z", b"X", b"x"):
        return None
    return int(fields[19])


def boot_id() -> str:
    """The kernel's random id of this boot; "" is never one."""
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
        return file.read(64).strip()


def effective_status(record: BottleRecord) -> str:
    """`starting`, `running`, `settling` while the keeper lives, else `interrupted`; `preserved`;
    `settled`."""
    if record.status in _LIVE:
        return record.status if is_alive(record.keeper) else INTERRUPTED
    return PRESERVED if record.preserved else record.status


def timestamp(at: float | None = None) -> str:
    """RFC 3339, UTC, microseconds, of a Unix time or of now: `2025-01-31T12:00:00.000000Z`."""
    now = time.time() if at is None else at
    whole, micro = divmod(round(now * 1_000_000), 1_000_000)
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(whole)) + f".{micro:06d}Z"


def unix_time(text: str) -> float | None:
    """The Unix time of what `timestamp` wrote; None for anything else (a record may have been edited)."""
    from datetime import datetime

    try:
        return datetime.fromisoformat(text).timestamp()
    except ValueError:
        return None


def shown(value: object) -> str:
    """A value from a file in an error: as Python writes it, which escapes what acts on a terminal, and not too long."""
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


def _text(name: str, value: object) -> str:
    if not isinstance(value, str) or len(value) > _LONGEST or "\0" in value:
        raise BadRecord(f"{name} is not a text, or not one of a reasonable length")
    return value


def _word(name: str, value: object) -> str:
    if not isinstance(value, str) or not _WORD.fullmatch(value):
        raise BadRecord(f"{name} is not a plain word")
    return value


def _texts(name: str, value: object) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise BadRecord(f"{name} is not a list of texts")
    return tuple(_text(name, item) for item in value)


def _number(name: str, value: object) -> int:
    if type(value) is not int:
        raise BadRecord(f"{name} is not a whole number")
    return value


def _number_or_none(name: str, value: object) -> int | None:
    return None if value is None else _number(name, value)


def _process(name: str, value: object) -> ProcessId | None:
    if value is None:
        return None
    if not isinstance(value, dict) or value.keys() != set(ProcessId._fields):
        raise BadRecord(f"{name} is not a process (pid, start_time, boot_id)")
    return ProcessId(_number(name, value["pid"]), _number(name, value["start_time"]), _word(name, value["boot_id"]))


def _journal_head(name: str, value: object) -> JournalHead | None:
    if value is None:
        return None
    if not isinstance(value, dict) or value.keys() != set(JournalHead._fields):
        raise BadRecord(f"{name} is not the end of a journal (seq, hash)")
    return JournalHead(_number(name, value["seq"]), _word(name, value["hash"]))


def _layers(name: str, value: object) -> tuple[Capability, ...]:
    if not isinstance(value, list) or len(value) > _MOST_LAYERS:
        raise BadRecord(f"{name} is not a list of capabilities")
    if not value:
        return ()  # what judges them is loaded where there are some

    from claude_bottle.model.capability import Capability

    try:
        return tuple(Capability.from_dict(item) for item in value)
    except BottleError as problem:
        raise BadRecord(f"{name}: {problem.why}") from problem


_REQUIRED = {"schema", "identity", "agent", "harness", "backend", "status"}
_CHECKS: dict[str, Callable[[str, object], object]] = {
    **dict.fromkeys(BottleRecord._fields, _word),
    "cwd": _text,
    **dict.fromkeys(("preserved", "manifests", "conversation"), _texts),
    **dict.fromkeys(("exit_code", "host_uid"), _number_or_none),
    "keeper": _process,
    "journal": _journal_head,
    "layers": _layers,
    "schema": _number,
}
