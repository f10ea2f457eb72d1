"""A state root of one's own, and keepers in it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from claude_bottle.state.paths import Paths
from tests.dashboard.keepers import FakeKeeper


@pytest.fixture
def paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Paths:
    monkeypatch.setenv("CLAUDE_BOTTLE_HOME", str(tmp_path / "root"))
    return Paths(tmp_path / "root")


@pytest.fixture
def keeper(paths: Paths) -> Iterator[Callable[..., FakeKeeper]]:
    """Makes keepers of running bottles, by identity; they are gone at the end."""
    made: list[FakeKeeper] = []

    def make(identity: str, **options: Any) -> FakeKeeper:
        made.append(FakeKeeper(paths, identity, **options))
        return made[-1]

    yield make
    for one in made:
        one.close()
