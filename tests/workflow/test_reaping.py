"""What keepers that were killed left behind, on the way of every launch."""

from __future__ import annotations

import fcntl
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from claude_bottle.state import lock
from claude_bottle.state.paths import Paths
from claude_bottle.state.record import INTERRUPTED, RUNNING, BottleRecord, effective_status, timestamp
from claude_bottle.state.store import Store
from claude_bottle.workflow.reaping import reap


def test_what_another_command_is_at_is_left_to_it_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Any other command waits for it; a launch has nothing to do with that bottle."""
    monkeypatch.setattr(lock, "time", SimpleNamespace(monotonic=time.monotonic))  # which cannot pause
    paths = Paths(tmp_path / "root")
    store, record = Store(paths), BottleRecord("docs-7ahq2c", "docs", "claude", "bubblewrap", RUNNING, created=timestamp())
    store.create(record)
    paths.run_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    (paths.run_dir / record.identity).touch()
    with open(paths.lock(record.identity), "w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        reap(paths)
        assert effective_status(store.load(record.identity)) == INTERRUPTED
    monkeypatch.undo()
    reap(paths)
    assert effective_status(store.load(record.identity)) != INTERRUPTED
