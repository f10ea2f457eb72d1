"""What `cleanup` removes, and what it leaves alone."""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path
from typing import Any

import pytest

from claude_bottle.errors import BottleError, UsageError
from claude_bottle.keeper import live_work
from claude_bottle.state import lock
from claude_bottle.state.files import write_atomic
from claude_bottle.state.paths import Paths
from claude_bottle.state.record import PRESERVED, RUNNING, BottleRecord, ProcessId, this_process, timestamp
from claude_bottle.state.store import Store
from claude_bottle.workflow.cleanup import cleanup


def preserved(paths: Paths, identity: str) -> str:
    record = BottleRecord(identity, "docs", "shell", "bubblewrap", status=PRESERVED, preserved=("exit 3",))
    Store(paths).create(record)
    return identity


def test_one_that_is_in_use_keeps_none_of_the_others(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody resumes one of them between the look and the removal."""
    monkeypatch.setattr(lock, "PATIENCE", 0.0)
    paths = Paths(tmp_path / "root")
    used, others = preserved(paths, "docs-aaaaaa"), [preserved(paths, "docs-000000"), preserved(paths, "docs-zzzzzz")]
    with paths.lock(used).open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert cleanup([], everything=True, older_than=None, yes=True, paths=paths) == 1
        assert Store(paths).identities() == [used]
        with pytest.raises(BottleError, match="is in use"):
            cleanup([used], everything=False, older_than=None, yes=True, paths=paths)
    told = capsys.readouterr().err
    assert f"{used} stays: {used} is in use" in told
    assert all(f"removed {other}" in told for other in others)


def holding(paths: Paths, identity: str, project: Path, **record: Any) -> str:
    """One whose settlement could not remove what holds places in its live workspace."""
    project.mkdir()
    Store(paths).create(BottleRecord(identity, "docs", "shell", **record))
    live_work.guard(paths, identity, project)
    assert os.listdir(project)
    return identity


def test_what_holds_places_in_a_live_workspace_goes_with_the_only_note_of_it(tmp_path: Path) -> None:
    paths, project = Paths(tmp_path / "root"), tmp_path / "project"
    identity = holding(paths, "docs-aaaaaa", project, backend="bubblewrap", status=PRESERVED, preserved=("exit 3",))
    assert cleanup([identity], everything=False, older_than=None, yes=True, paths=paths) == 0
    assert os.listdir(project) == []


def test_so_it_does_where_the_record_is_damaged(tmp_path: Path) -> None:
    paths, project = Paths(tmp_path / "root"), tmp_path / "project"
    identity = holding(paths, "docs-aaaaaa", project, backend="bubblewrap", status=PRESERVED)
    paths.record(identity).write_text("no record")
    cleanup([identity], everything=False, older_than=None, yes=True, paths=paths)
    assert os.listdir(project) == []


def test_one_stays_while_nobody_can_tell_whether_it_still_has_a_live_workspace(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/none")
    paths, project = Paths(tmp_path / "root"), tmp_path / "project"
    identity = holding(paths, "docs-aaaaaa", project, backend="docker", status=RUNNING, keeper=a_dead_process())
    with pytest.raises(BottleError):
        cleanup([identity], everything=False, older_than=None, yes=True, paths=paths)
    assert Store(paths).identities() == [identity]


def a_dead_process() -> ProcessId:
    return this_process()._replace(start_time=1)


def test_what_runs_and_what_nobody_knows_is_refused(tmp_path: Path) -> None:
    paths = Paths(tmp_path / "root")
    Store(paths).create(BottleRecord("docs-aaaaaa", "docs", "shell", "bubblewrap", keeper=this_process()))
    for wrong, problem in (("docs-aaaaaa", BottleError), ("docs-bbbbbb", BottleError), ("../docs", UsageError)):
        with pytest.raises(problem):
            cleanup([wrong], everything=False, older_than=None, yes=True, paths=paths)
    assert Store(paths).identities() == ["docs-aaaaaa"]


def test_without_a_word_of_which_the_operators_retention_counts(tmp_path: Path) -> None:
    paths = Paths(tmp_path / "root")
    old, new = preserved(paths, "docs-000000"), preserved(paths, "docs-aaaaaa")
    Store(paths).update(old, ended=timestamp(time.time() - 8 * 86400))
    Store(paths).update(new, ended=timestamp(time.time() - 6 * 86400))
    with pytest.raises(UsageError):
        cleanup([], everything=False, older_than=None, yes=True, paths=paths)
    write_atomic(paths.config, b'{"retention_days": 7}')
    assert cleanup([], everything=False, older_than=None, yes=True, paths=paths) == 0
    assert Store(paths).identities() == [new]
