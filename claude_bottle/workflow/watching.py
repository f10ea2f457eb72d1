"""What an agent does, as it happens: files it changes, commands it runs, tools it calls, hosts it reaches or may not.

Put together from what is there anyway: the journal, the conversation, a cheap look at the workspace. The conversation is the
agent's own account and the journal the gate's, which is said of each line (`by`). Every text is printable.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from claude_bottle.errors import BottleError
from claude_bottle.keeper.conversation_tail import ConversationTail
from claude_bottle.model import events
from claude_bottle.model.names import check_identity
from claude_bottle.redact import printable
from claude_bottle.state import files, layers
from claude_bottle.state.journal_read import Reader
from claude_bottle.state.paths import Paths
from claude_bottle.state.record import BottleRecord, timestamp
from claude_bottle.state.store import Store
from claude_bottle.workflow.tree_scan import MAX_TOLD, TreeScan

FILE, COMMAND, TOOL, HOST, REFUSED, BOTTLE = "file", "command", "tool", "host", "refused", "bottle"
GATE, AGENT, KEEPER, DISK = "gate", "agent", "keeper", "disk"
_WIDTH = 300
_FIRST_BYTES = 128 << 10
_POLL_SECONDS = 0.5
_PLAN_LIMIT = 8 << 20
# What says best what a tool was called for, in this order.
_TELLING = ("command", "file_path", "path", "url", "pattern", "query", "prompt", "description")
_UNTOLD = frozenset({events.TRAFFIC, events.SNAPSHOT, events.CREDENTIAL_READ})


class Happening(NamedTuple):
    """One thing that happened: when (RFC 3339), `what` it is, in words, and whose account it is."""

    at: str
    what: str
    text: str
    by: str

    @property
    def line(self) -> str:
        return f"{self.at[11:19]:<8}  {self.what:<8}  {self.text}"


class Watch:
    """Of one bottle, beginning with the latest that is known. `poll` again and again; it never waits."""

    def __init__(self, identity: str, paths: Paths) -> None:
        """BottleError for an unknown identity."""
        self._paths, self._identity = paths, check_identity(identity)
        self._store = Store(paths)
        record = self._store.load(identity)
        self._journal: Reader | None = None
        self._conversation = ConversationTail(paths, record, first=_FIRST_BYTES)
        self._tree = TreeScan(workspace(paths, record))

    @property
    def running(self) -> bool:
        return self._store.running(self._identity)

    def poll(self) -> list[Happening]:
        """What is new, in order."""
        found = [*self._from_journal(), *self._from_conversation(), *self._from_tree()]
        return sorted(found, key=lambda one: one.at)

    def close(self) -> None:
        self._conversation.close()
        if self._journal:
            self._journal.close()

    def _from_journal(self) -> list[Happening]:
        if self._journal is None:
            try:
                self._journal = Reader(self._paths.journal(self._identity), last=_FIRST_BYTES)
            except (BottleError, FileNotFoundError):
                return []
        told = (of_event(line.event) for line in self._journal.lines() if line.event)
        return [one for one in told if one]

    def _from_conversation(self) -> list[Happening]:
        return [one for line in self._conversation.lines() for one in calls(line)]

    def _from_tree(self) -> list[Happening]:
        seen, now = self._tree.changes(), timestamp()
        told = [_made(now, FILE, f"{one.how} {one.name}  {one.size} B", DISK) for one in seen[:MAX_TOLD]]
        if len(seen) > MAX_TOLD:
            told.append(_made(now, FILE, f"and {len(seen) - MAX_TOLD} more", DISK))
        return told


def watch(identity: str, paths: Paths | None = None) -> Iterator[Happening]:
    """Everything from now on, after the latest of what was, until the bottle has ended."""
    watched = Watch(identity, paths or Paths.default())
    try:
        while True:
            running = watched.running
            yield from watched.poll()
            if not running:
                return
            time.sleep(_POLL_SECONDS)
    finally:
        watched.close()


def workspace(paths: Paths, record: BottleRecord) -> Path:
    """Where on this host a bottle's work is. In containers it may be elsewhere while they run; then nothing changes here."""
    try:
        planned = files.read_json(paths.plan(record.identity), _PLAN_LIMIT).get("workspace")
    except (BottleError, FileNotFoundError):
        planned = None
    if isinstance(planned, dict) and planned.get("mode") == "bind" and isinstance(planned.get("source"), str):
        return Path(planned["source"])
    if isinstance(planned, dict) and planned.get("mode") == "overlay":
        return paths.layers(record.identity) / layers.UPPER
    return paths.workspace(record.identity)


def calls(line: bytes) -> list[Happening]:
    """The tools that a line of a conversation calls. Takes any bytes."""
    try:
        entry = json.loads(line)
        content = entry["message"]["content"] if entry["type"] == "assistant" else ()
        at = entry.get("timestamp")
        blocks = [block for block in content if isinstance(block, dict) and block.get("type") == "tool_use"]
    except (ValueError, RecursionError, KeyError, TypeError, AttributeError):
        return []
    return [_of_call(block, at if isinstance(at, str) else "") for block in blocks]


def _of_call(block: dict[str, Any], at: str) -> Happening:
    name, given = str(block.get("name")), block.get("input")
    said = given if isinstance(given, dict) else {}
    words = next((said[key] for key in _TELLING if isinstance(said.get(key), str)), json.dumps(given, ensure_ascii=False))
    if isinstance(said.get("command"), str):
        return _made(at, COMMAND, words, AGENT)
    return _made(at, TOOL, f"{name}  {words}", AGENT)


def of_event(event: dict[str, Any]) -> Happening | None:
    """What an event of the journal tells; None for what follows from others."""
    kind, data, at = event["kind"], event["data"], event["wall"]
    if kind in _UNTOLD:
        return None
    if kind in (events.DECISION, events.DNS):
        place = data.get("name") or f"{data.get('host')}:{data.get('port')}"
        words = " ".join(str(word) for word in (data.get("method"), place, data.get("path")) if word)
        if data.get("allow"):
            return _made(at, HOST, words, GATE)
        return _made(at, REFUSED, f"{words}  {data.get('reason', '')}", GATE)
    if kind == events.HOST_EDITS:
        return _made(at, BOTTLE, f"changed on the host below it: {' '.join(map(str, data.get('paths') or ()))}", KEEPER)
    if kind == events.LIVE_TRIGGERS:
        changed = data.get("changed")
        groups = changed.values() if isinstance(changed, dict) else ()
        paths = [str(path) for group in groups if isinstance(group, dict) for path in group.get("paths") or ()]
        return _made(at, BOTTLE, f"would run on this machine, changed in the live workspace: {', '.join(paths)}", KEEPER)
    said = " ".join(f"{key}={value}" for key, value in data.items() if value not in ("", None))
    return _made(at, BOTTLE, f"{kind} {said}".strip(), KEEPER)


def _made(at: str, what: str, text: str, by: str) -> Happening:
    return Happening(printable(at, width=40), what, printable(text[: 4 * _WIDTH], width=_WIDTH), by)
