"""The four calls of the original interface, as `claude_bottle.state` offers them."""

from __future__ import annotations

import subprocess
import sys

import pytest

import claude_bottle.state as state
from claude_bottle.errors import BottleError, UsageError
from claude_bottle.state.paths import Paths
from claude_bottle.state.record import BottleRecord
from claude_bottle.state.store import Store


def test_an_empty_identity_does_nothing(paths: Paths) -> None:
    assert state.snapshot_transcript("") is None
    state.mark_preserved("")
    assert state.is_preserved("") is False
    state.cleanup_state("")
    assert not paths.root.exists()


@pytest.mark.parametrize("hostile", ["..", "../../x-123456", "/etc-123456", "-x-123456", "x\n-123456"])
def test_a_bad_identity_is_refused_before_anything_is_touched(paths: Paths, hostile: str) -> None:
    for name in state.__all__:
        with pytest.raises(UsageError):
            getattr(state, name)(hostile)
    assert not paths.root.exists()


def test_preserving_is_remembered_with_its_reasons(bottle: str, store: Store) -> None:
    assert state.is_preserved(bottle) is False
    state.mark_preserved(bottle)
    state.mark_preserved(bottle, "unexported work")
    state.mark_preserved(bottle, "unexported work")
    assert state.is_preserved(bottle) is True
    assert store.load(bottle).preserved == ("kept", "unexported work")


def test_an_interrupted_bottle_counts_as_preserved(store: Store, record: BottleRecord) -> None:
    store.create(record._replace(status="running"))
    assert state.is_preserved(record.identity) is True


def test_an_unknown_identity_is_not_preserved_and_cannot_be(paths: Paths) -> None:
    assert state.is_preserved("docs-000000") is False
    state.cleanup_state("docs-000000")
    for call in (state.mark_preserved, state.snapshot_transcript):
        with pytest.raises(BottleError):
            call("docs-000000")


def test_a_bottle_is_snapshot_and_cleaned_up(bottle: str, paths: Paths) -> None:
    assert state.snapshot_transcript(bottle) is None
    project = paths.home(bottle) / ".claude/projects/-workspace"
    project.mkdir(parents=True)
    (project / "s-1.jsonl").write_text("{}\n")
    assert state.snapshot_transcript(bottle) == paths.transcripts("docs", bottle)
    state.cleanup_state(bottle)
    assert not paths.state(bottle).exists()
    assert paths.transcripts("docs", bottle).is_dir()


def test_importing_the_package_loads_none_of_it() -> None:
    script = "import sys, claude_bottle.state; print([m for m in sys.modules if m.startswith('claude_bottle.state.')])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError):
        _ = state.no_such_call  # type: ignore[attr-defined]
