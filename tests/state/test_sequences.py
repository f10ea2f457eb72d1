"""Any sequence of changes to the state of a bottle, cut off anywhere: what is found is what had been acknowledged, or one
change more."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from claude_bottle.state.journal import Journal, read, verify
from claude_bottle.state.paths import Paths
from claude_bottle.state.record import BottleRecord
from claude_bottle.state.store import Store
from tests.state.crashes import crash

IDENTITY = "tester-aaaaaa"
CHANGES = ("preserve", "update", "note", "note durably", "remove", "create")
# What there is of a bottle: nothing, or why it is preserved, its exit code, and how many events were noted.
Seen = tuple[tuple[str, ...], int | None, int] | None


def following(seen: Seen, change: str, number: int) -> Seen:
    """What must be there after a change."""
    if seen is None:
        return ((), None, 0) if change == "create" else None
    reasons, code, noted = seen
    match change:
        case "preserve":
            return (*reasons, str(number)), code, noted
        case "update":
            return reasons, number, noted
        case "note" | "note durably":
            return reasons, code, noted + 1
        case "remove":
            return None
    return seen


def perform(paths: Paths, changes: list[str], acknowledged: int) -> None:
    """Make the changes that mean something, and write a byte after each."""
    store = Store(paths)
    seen: Seen = None
    for number, change in enumerate(changes):
        after = following(seen, change, number)
        if after != seen:
            make(paths, store, change, number)
        seen = after
        os.write(acknowledged, b".")


def make(paths: Paths, store: Store, change: str, number: int) -> None:
    match change:
        case "create":
            store.create(BottleRecord(IDENTITY, "tester", "shell", "fake"))
        case "preserve":
            store.mark_preserved(IDENTITY, str(number))
        case "update":
            store.update(IDENTITY, exit_code=number)
        case "remove":
            store.cleanup(IDENTITY)
        case _:
            journal = Journal.open(paths, IDENTITY)
            journal.append("note", durable=change == "note durably")
            journal.close()


def found(paths: Paths) -> Seen:
    """As the next command finds it."""
    store = Store(paths)
    store.sweep()
    if not store.exists(IDENTITY):
        return None
    record = store.load(IDENTITY)
    noted = 0
    if paths.journal(IDENTITY).exists():
        Journal.open(paths, IDENTITY).close()
        assert verify(paths.journal(IDENTITY)) == []
        noted = sum(line.event["kind"] == "note" for line in read(paths.journal(IDENTITY)) if line.event)
    return record.preserved, record.exit_code, noted


@given(st.lists(st.sampled_from(CHANGES), max_size=12).map(lambda some: ["create", *some]), st.integers(1, 120))
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_what_is_found_after_a_crash_is_what_was_acknowledged_or_one_change_more(changes: list[str], count: int) -> None:
    with tempfile.TemporaryDirectory() as place:
        paths = Paths(Path(place) / "root")
        told, tell = os.pipe()
        try:
            crash(lambda: perform(paths, changes, tell), count)
            os.set_blocking(told, False)
            try:
                done = len(os.read(told, 100))
            except BlockingIOError:
                done = 0
        finally:
            os.close(told)
            os.close(tell)
        states: list[Seen] = [None]
        for number, change in enumerate(changes):
            states.append(following(states[-1], change, number))
        assert found(paths) in states[done : done + 2]
        if found(paths) is None:
            make(paths, Store(paths), "create", 0)
            assert found(paths) == ((), None, 0)
