"""The journal on a disk that is full: what must not be lost, what may, and that the reserve lasts."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest

from claude_bottle.keeper import audit
from claude_bottle.keeper.audit import Audit
from claude_bottle.keeper.gate_link import GateLink
from claude_bottle.keeper.loop import Loop
from claude_bottle.keeper.settle import record_gate_event
from claude_bottle.model import events
from claude_bottle.state import journal as journals
from claude_bottle.state.journal import Journal, read, verify
from claude_bottle.state.paths import Paths
from claude_bottle.state.record import BottleRecord
from claude_bottle.state.reserve import allocate_beyond_end
from claude_bottle.state.spent import read_spent
from claude_bottle.state.store import Store
from tests.keeper.loops import run_until

if TYPE_CHECKING:
    from claude_bottle.keeper.boot import Booted
    from claude_bottle.keeper.order import Order

IDENTITY = "tester-k3x9qa"
ENDINGS = ("agent_exited", "snapshot", "bottle_down", "archived", "preserved")


class Gate:
    def __init__(self) -> None:
        self.told: list[str] = []

    def tell(self, op: str) -> None:
        self.told.append(op)


class Disk:
    """The system's calls that need room. `reserve`: none is left for more of it; `full`: none for anything."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.full = self.reserve = False
        pwrite, allocate = os.pwrite, allocate_beyond_end

        def limited_write(fd: int, data: bytes, at: int) -> int:
            return pwrite(fd, data, at) if not self.full else self._refuse()

        def limited_allocation(fd: int, offset: int, length: int) -> bool:
            return allocate(fd, offset, length) if not (self.full or self.reserve) else bool(self._refuse())

        monkeypatch.setattr(os, "pwrite", limited_write)
        monkeypatch.setattr(journals, "allocate_beyond_end", limited_allocation)

    def _refuse(self) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


class Rig:
    def __init__(self, root: Path, disk: Disk) -> None:
        self.disk, self.loop, self.gate, self.paths = disk, Loop(), Gate(), Paths(root)
        Store(self.paths).create(BottleRecord(IDENTITY, "tester", "shell", "local"))
        self.journal = Journal.open(self.paths, IDENTITY)
        self.audit = Audit(self.loop, self.journal, cast("GateLink", self.gate))
        self.audit.record("created")

    def fill(self) -> None:
        """Record decisions until the gate is halted."""
        while not self.audit.halted:
            self.audit.record("decision", path="x" * 1000)

    def until(self, condition: Any) -> None:
        run_until(self.loop, condition)

    def lines(self) -> list[dict[str, Any]]:
        return [line.event for line in read(self.paths.journal(IDENTITY)) if line.event]

    def kinds(self) -> list[str]:
        return [line["kind"] for line in self.lines()]


@pytest.fixture
def rig(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Rig]:
    monkeypatch.setattr(audit, "RETRY_SECONDS", 0.01)
    made = Rig(tmp_path / "root", Disk(monkeypatch))
    yield made
    made.journal.close()
    made.loop.close()


def test_a_bottles_end_is_recorded_from_the_reserve(rig: Rig) -> None:
    rig.disk.reserve = True
    rig.fill()
    for kind in ENDINGS:
        rig.audit.record(kind, code=1)
    assert rig.kinds()[-5:] == list(ENDINGS)
    assert rig.gate.told == ["halt"]
    assert rig.audit.finish()
    assert verify(rig.paths.journal(IDENTITY), rig.journal.head) == []


def test_a_gate_that_was_taken_over_tells_nothing_but_what_gates_see(rig: Rig) -> None:
    booted = cast("Booted", SimpleNamespace(audit=rig.audit))
    for kind in (*sorted(events.KINDS - events.OF_GATES), "made up", ["decision"], None):
        record_gate_event(booted, {"op": "event", "event": {"kind": kind, "data": {"path": "/x"}}})
    record_gate_event(booted, {"op": "event", "event": {"kind": events.DNS, "data": {"name": "x"}}})
    assert set(rig.kinds()[1:]) == {events.FAULT, events.DNS}  # the first is the rig's own


def test_what_a_gate_has_spent_is_kept_and_never_becomes_less(rig: Rig) -> None:
    booted = cast("Booted", SimpleNamespace(audit=rig.audit))
    order = cast("Order", SimpleNamespace(paths=rig.paths, identity=IDENTITY))
    for said in (100, 300, 200, -1, True, "400", None, 1 << 70):
        record_gate_event(booted, {"op": "spent", "egress_bytes": said}, order)
    assert read_spent(rig.paths, IDENTITY).egress_bytes == 300


def test_what_answers_cost_adds_up_and_nothing_a_gate_says_makes_it_less(rig: Rig) -> None:
    booted = cast("Booted", SimpleNamespace(audit=rig.audit))
    order = cast("Order", SimpleNamespace(paths=rig.paths, identity=IDENTITY))
    for said in (100, 300, -500, True, "400", None, 1 << 70):
        data = {"usd_micros": said}
        record_gate_event(booted, {"op": "event", "event": {"kind": events.TRAFFIC, "data": data}}, order)
        record_gate_event(booted, {"op": "event", "event": {"kind": events.DNS, "data": data}}, order)
    record_gate_event(booted, {"op": "spent", "egress_bytes": 7}, order)
    assert read_spent(rig.paths, IDENTITY) == (7, 400)


def test_what_a_bottle_can_cause_uses_up_none_of_the_reserve(rig: Rig) -> None:
    rig.disk.reserve = True
    rig.fill()
    before = rig.journal.head
    tries = 0

    def tried() -> bool:
        nonlocal tries
        rig.audit.record("decision")
        rig.audit.fault("gate fault")
        tries += 1
        return tries > 20

    rig.until(tried)
    assert rig.journal.head == before
    rig.disk.reserve = False
    rig.until(lambda: not rig.audit.halted)
    assert rig.gate.told == ["halt", "resume"]
    assert rig.lines()[-1]["data"]["events_lost"] == 42


def test_an_end_that_finds_no_room_at_all_is_recorded_once_there_is_some(rig: Rig) -> None:
    rig.disk.full = True
    rig.fill()
    for kind in ENDINGS:
        rig.audit.record(kind)
    assert rig.kinds() == ["created"]
    assert not rig.audit.finish()
    rig.disk.full = False
    rig.until(lambda: not rig.audit.halted)
    assert rig.kinds() == ["created", *ENDINGS, "note"]
    assert all("happened" in line["data"] for line in rig.lines()[1:-1])
    assert verify(rig.paths.journal(IDENTITY), rig.journal.head) == []


def test_case_117_a_journal_of_the_greatest_length_halts_the_gate_for_good_and_takes_the_ending(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journals, "MOST", 4096)
    rig.fill()
    length = rig.paths.journal(IDENTITY).stat().st_size
    assert 4096 < length < 3 * 4096
    for _ in range(50):
        rig.audit.record("decision", detail="x" * 500)
    for kind in ENDINGS:
        rig.audit.record(kind)
    assert (rig.audit.halted, rig.gate.told) == (True, ["halt"])
    kinds = [line.event["kind"] for line in read(rig.paths.journal(IDENTITY)) if line.event]
    assert kinds[-len(ENDINGS):] == list(ENDINGS)


def test_finish_records_what_is_owed(rig: Rig) -> None:
    rig.disk.full = True
    rig.audit.record("agent_exited")
    rig.disk.full = False
    assert rig.audit.finish()
    assert rig.kinds() == ["created", "agent_exited", "note"]


def test_finish_tells_that_something_was_lost(rig: Rig) -> None:
    rig.disk.full = True
    rig.audit.record("decision")
    rig.disk.full = False
    assert not rig.audit.finish()
    assert rig.lines()[-1]["data"]["events_lost"] == 1
