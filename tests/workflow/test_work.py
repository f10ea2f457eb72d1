"""Whose work is looked at, and whose is not."""

from __future__ import annotations

from pathlib import Path

import pytest

from claude_bottle.errors import BottleError
from claude_bottle.keeper.settle import AWAY
from claude_bottle.state.paths import Paths
from claude_bottle.state.record import PRESERVED, BottleRecord
from claude_bottle.state.store import Store
from claude_bottle.workflow.work import opened


def test_work_that_could_not_be_brought_here_is_not_taken_for_work_that_is_done(tmp_path: Path) -> None:
    paths = Paths(tmp_path / "root")
    record = BottleRecord("docs-aaaaaa", "docs", "shell", "docker", status=PRESERVED, preserved=("exit 3", AWAY))
    Store(paths).create(record)
    with pytest.raises(BottleError, match="still lies where it ran"), opened("docs-aaaaaa", paths):
        pass
