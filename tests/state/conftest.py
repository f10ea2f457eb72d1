"""A state root of one's own for each test, and a record to put into it."""

from __future__ import annotations

from pathlib import Path

import pytest

from claude_bottle.state.paths import Paths
from claude_bottle.state.record import BottleRecord, timestamp
from claude_bottle.state.store import Store

IDENTITY = "docs-7ahq2c"


@pytest.fixture
def paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Paths:
    root = tmp_path / "root"
    monkeypatch.setenv("CLAUDE_BOTTLE_HOME", str(root))
    return Paths(root)


@pytest.fixture
def store(paths: Paths) -> Store:
    return Store(paths)


@pytest.fixture
def record() -> BottleRecord:
    return BottleRecord(IDENTITY, "docs", "claude", "bubblewrap", created=timestamp(), session_id="s-1")


@pytest.fixture
def bottle(store: Store, record: BottleRecord) -> str:
    """The identity of a bottle that has ended."""
    store.create(record._replace(status="settled"))
    return record.identity
