"""A bottle's journal, as entries and as lines a person can read. What the bottle caused to be written is sanitised."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

from claude_bottle.errors import BottleError
from claude_bottle.redact import printable
from claude_bottle.state.journal_read import Line, Reader, read, verify
from claude_bottle.state.paths import Paths
from claude_bottle.state.store import Store, alive

_POLL_SECONDS = 0.2
# What the gate judged comes first on its line, the rest in the order it was written.
_FIRST = ("verdict", "reason", "method", "host", "port", "path")


def entries(
    identity: str, *, follow: bool = False, kinds: frozenset[str] | None = None, paths: Paths | None = None
) -> Iterator[dict[str, Any]]:
    """The events of `identity` in order, of `kinds` only if given; with `follow` until its keeper has ended, which there may
    not be yet.

    A damaged line appears as {"kind": "damaged", …} in its place. BottleError for an unknown identity.
    """
    store = Store(paths or Paths.default())
    store.load(identity)
    with _reader(store, identity, follow=follow) as reader:
        while True:
            running = store.running(identity)
            for line in reader.lines(unfinished=not running):
                event = _event(line)
                if kinds is None or event["kind"] in kinds:
                    yield event
            if not (follow and running):
                return
            time.sleep(_POLL_SECONDS)


def _reader(store: Store, identity: str, *, follow: bool) -> Reader:
    """Of its journal; with `follow` once there is one."""
    while True:
        running = store.running(identity)
        try:
            return Reader(store.paths.journal(identity))
        except FileNotFoundError:
            if not (follow and running):
                raise BottleError(f"{identity} has no journal", why="it never got as far as booting") from None
        time.sleep(_POLL_SECONDS)


def verified(identity: str, paths: Paths | None = None) -> dict[str, Any]:
    """Whether the journal is as its keeper wrote it: {"identity", "ok", "events", "problems"}. Changed, missing and
    added lines show by the chain of hashes; a missing end only once the bottle was preserved, because its record then
    says where the journal ended."""
    paths = paths or Paths.default()
    record = Store(paths).load(identity)
    growing = alive(record)
    try:
        problems = verify(paths.journal(identity), record.journal, growing=growing)
        events = sum(1 for line in read(paths.journal(identity), growing=growing) if line.event)
    except FileNotFoundError:
        problems, events = ["there is no journal"], 0
    return {"identity": identity, "ok": not problems, "events": events, "problems": problems}


def _event(line: Line) -> dict[str, Any]:
    if line.event is None:
        return {"seq": None, "wall": "", "kind": "damaged", "data": {"line": line.number, "problem": line.problem}}
    return line.event


def render(event: dict[str, Any]) -> str:
    """One line: time, kind, and what is known. Never a line break or a control character."""
    data: dict[str, Any] = event["data"]
    if event["kind"] == "decision":
        words = [_verdict(data), *(f"{k}={data[k]}" for k in data if k not in _FIRST and data[k] not in ("", None))]
    else:
        words = [f"{key}={value}" for key, value in data.items() if value not in ("", None)]
    return printable(f"{str(event['wall'])[11:23]}  {event['kind']:<15} {' '.join(words)}", width=400)


def _verdict(data: dict[str, Any]) -> str:
    said = f"{data.get('verdict', '')} {data.get('reason') or ''}".strip()
    place = f"{data.get('host', '')}:{data.get('port', '')}"
    return " ".join(word for word in (said, str(data.get("method") or ""), place, str(data.get("path") or "")) if word)
