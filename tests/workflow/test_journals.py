"""The journal of a bottle that runs, read while its keeper writes it."""

from __future__ import annotations

from pathlib import Path

from claude_bottle.state.journal import Journal
from claude_bottle.state.paths import Paths
from claude_bottle.state.record import BottleRecord, this_process
from claude_bottle.state.store import Store
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
