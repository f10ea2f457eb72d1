"""The journal of a bottle that runs, read while its keeper writes it."""

from __future__ import annotations

import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest

from claude_bottle.errors import BottleError
from claude_bottle.state import store
from claude_bottle.state.journal import Journal
from claude_bottle.state.paths import Paths
from claude_bottle.state.record import BottleRecord, ProcessId, boot_id, start_time_of, this_process
from claude_bottle.state.store import Store
from claude_bottle.workflow import journals
from claude_bottle.workflow.journals import entries, verified

IDENTITY = "docs-7ahq2c"


def test_a_line_that_is_just_being_written_is_damage_only_once_nobody_writes_any_more(tmp_path: Path) -> None:
    paths = Paths(tmp_path / "root")
    Store(paths).create(BottleRecord(IDENTITY, "docs", "shell", "bubblewrap", status="running", keeper=this_process()))
    journal = Journal.open(paths, IDENTITY)
    journal.append("created")
    journal.close()
    with paths.journal(IDENTITY).open("ab") as file:
        file.write(b'{"seq":2,')
    assert [event["kind"] for event in entries(IDENTITY, paths=paths)] == ["created"]
    assert verified(IDENTITY, paths) == {"identity": IDENTITY, "ok": True, "events": 1, "problems": []}
    Store(paths).update(IDENTITY, keeper=None)
    assert [event["kind"] for event in entries(IDENTITY, paths=paths)] == ["created", "damaged"]
    assert verified(IDENTITY, paths)["problems"] == ["line 2: the last line is unfinished"]


class Process:
    """One that a record names."""

    def __init__(self) -> None:
        self._child = subprocess.Popen(["sleep", "1000"])
        self.id = ProcessId(self._child.pid, start_time_of(self._child.pid) or 0, boot_id())

    def end(self) -> None:
        self._child.kill()
        self._child.wait()


class Boot:
    """A bottle that begins to boot when it is followed, a step each time that more is waited for."""

    def __init__(self, paths: Paths, monkeypatch: pytest.MonkeyPatch, steps: tuple[str, ...]) -> None:
        self.paths, self.store = paths, Store(paths)
        self.command, self.keeper = Process(), Process()
        self.store.create(BottleRecord(IDENTITY, "docs", "shell", "bubblewrap", keeper=self.command.id))
        due = [getattr(self, step) for step in steps]
        monkeypatch.setattr(journals, "time", SimpleNamespace(sleep=lambda _seconds: due.pop(0)()))

    def begins(self) -> None:
        self._says("created")

    def comes_up(self) -> None:
        self.store.update(IDENTITY, status="running", keeper=self.keeper.id)
        self.command.end()

    def runs(self) -> None:
        self._says("launched")

    def ends(self) -> None:
        self._says("agent_exited")
        self.keeper.end()

    def fails(self) -> None:
        self.command.end()
        self.store.cleanup(IDENTITY)

    def over(self) -> None:
        self.command.end()
        self.keeper.end()

    def _says(self, kind: str) -> None:
        journal = Journal.open(self.paths, IDENTITY)
        journal.append(kind)
        journal.close()


def test_a_bottle_that_still_starts_is_followed_to_its_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    boot = Boot(Paths(tmp_path / "root"), monkeypatch, ("begins", "comes_up", "runs", "ends"))
    try:
        found = entries(IDENTITY, follow=True, paths=boot.paths)
        assert [event["kind"] for event in found] == ["created", "launched", "agent_exited"]
    finally:
        boot.over()


def test_one_whose_start_fails_has_no_journal_to_follow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    boot = Boot(Paths(tmp_path / "root"), monkeypatch, ("fails",))
    try:
        with pytest.raises(BottleError, match="has no journal"):
            list(entries(IDENTITY, follow=True, paths=boot.paths))
    finally:
        boot.over()


def test_a_keeper_that_takes_over_between_two_looks_is_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    boot = Boot(Paths(tmp_path / "root"), monkeypatch, ("runs", "ends"))
    boot.begins()
    alive = store.alive

    def looked(record: BottleRecord) -> bool:
        if record.keeper == boot.command.id:
            boot.comes_up()
        return alive(record)

    monkeypatch.setattr(store, "alive", looked)
    try:
        found = entries(IDENTITY, follow=True, paths=boot.paths)
        assert [event["kind"] for event in found] == ["created", "launched", "agent_exited"]
    finally:
        boot.over()
