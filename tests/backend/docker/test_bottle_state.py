"""The four calls of the original interface on container bottles: what lies in a volume counts, and nothing is left."""

from __future__ import annotations

import fcntl
import subprocess
from pathlib import Path

import pytest

from claude_bottle.backend.docker import bottle_state, owners
from claude_bottle.errors import BottleError, EnvironmentLacks, UsageError
from claude_bottle.state import contract, lock
from claude_bottle.state.lock import IdentityLock, LockHeld
from claude_bottle.state.paths import Paths
from claude_bottle.state.record import BottleRecord, ProcessId, boot_id, start_time_of, timestamp
from claude_bottle.state.store import Store
from tests.backend.docker.bottles import Place
from tests.backend.docker.test_owners import killed_keeper

TALK = "mkdir -p ~/.claude/projects/-workspace; echo '{}' > ~/.claude/projects/-workspace/s-1.jsonl"
ARCHIVED = ".claude/projects/-workspace/s-1.jsonl"


@pytest.fixture
def interrupted(place: Place) -> Place:
    """A bottle whose keeper was killed: its conversation is in its volume only."""
    record(place.identity, "running")
    killed_keeper(place, TALK)
    return place


def record(identity: str, status: str, keeper: ProcessId | None = None) -> None:
    made = BottleRecord(identity, "tester", "claude", "docker", created=timestamp(), session_id="s-1", status=status)
    Store(Paths.default()).create(made._replace(keeper=keeper))


def archived(place: Place) -> list[str]:
    directory = Paths.default().transcripts("tester", place.identity)
    return [path.name for path in directory.rglob("*.jsonl")] if directory.exists() else []


def test_an_empty_identity_does_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLAUDE_BOTTLE_HOME", str(tmp_path / "root"))
    assert bottle_state.snapshot_transcript("") is None
    bottle_state.mark_preserved("")
    assert bottle_state.is_preserved("") is False
    bottle_state.cleanup_state("")
    assert not (tmp_path / "root").exists()


@pytest.mark.parametrize("hostile", ["..", "../../x-123456", "-x-123456", "x\n-123456"])
def test_a_bad_identity_is_refused(hostile: str) -> None:
    for name in ("snapshot_transcript", "mark_preserved", "is_preserved", "cleanup_state"):
        with pytest.raises(UsageError):
            getattr(bottle_state, name)(hostile)


def test_the_shared_calls_are_the_shared_ones() -> None:
    assert bottle_state.mark_preserved is contract.mark_preserved
    assert bottle_state.is_preserved is contract.is_preserved


def test_a_dead_keepers_conversation_is_archived_from_its_volume(interrupted: Place) -> None:
    assert bottle_state.is_preserved(interrupted.identity)
    archive = bottle_state.snapshot_transcript(interrupted.identity)
    assert archive is not None and archived(interrupted) == ["s-1.jsonl"]
    assert (Paths.default().home(interrupted.identity) / ARCHIVED).is_file()
    assert interrupted.objects() == []
    assert bottle_state.snapshot_transcript(interrupted.identity) == archive


def test_cleaning_up_archives_first_and_leaves_no_object(interrupted: Place) -> None:
    bottle_state.cleanup_state(interrupted.identity)
    assert archived(interrupted) == ["s-1.jsonl"]
    assert interrupted.objects() == []
    assert not Store(Paths.default()).exists(interrupted.identity)
    bottle_state.cleanup_state(interrupted.identity)


def test_an_engine_that_is_gone_keeps_everything(interrupted: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setenv("DOCKER_HOST", "unix:///nowhere/docker.sock")
        for call in (bottle_state.snapshot_transcript, bottle_state.cleanup_state):
            with pytest.raises(EnvironmentLacks):
                call(interrupted.identity)
    assert Store(Paths.default()).exists(interrupted.identity)
    bottle_state.cleanup_state(interrupted.identity)
    assert archived(interrupted) == ["s-1.jsonl"]


def test_somebody_who_is_at_it_is_left_in_peace(interrupted: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "PATIENCE", 0.0)
    paths = Paths.default()
    ours = IdentityLock(paths, interrupted.identity)
    with open(paths.lock(interrupted.identity), "w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(LockHeld):
            bottle_state.bring_home(interrupted.identity)
    with ours:
        bottle_state.bring_home(interrupted.identity)
    assert interrupted.objects() == []


@pytest.mark.parametrize("state", ["ended", "damaged", "none"])
def test_objects_go_with_whatever_state_there_is(place: Place, state: str) -> None:
    if state != "none":
        record(place.identity, "preserved")
    if state == "damaged":
        Path(Paths.default().record_text(place.identity)).write_text("{")
    owner = owners.installation(Paths.default())
    labels = [f"--label={owners.IDENTITY}={place.identity}", f"--label={owners.INSTALLATION}={owner}"]
    place.engine.docker("volume", "create", *labels, f"claude-bottle-{place.identity}-home")
    bottle_state.cleanup_state(place.identity)
    assert place.objects() == []
    assert not Store(Paths.default()).exists(place.identity)


def test_a_bottle_that_runs_is_neither_cleaned_up_nor_brought_home(place: Place) -> None:
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE) as keeper:
        started = start_time_of(keeper.pid)
        assert keeper.stdin and started is not None
        record(place.identity, "running", ProcessId(keeper.pid, started, boot_id()))
        with pytest.raises(BottleError, match="running"):
            bottle_state.cleanup_state(place.identity)
        bottle_state.bring_home(place.identity)
        assert Store(Paths.default()).exists(place.identity)


def test_an_unknown_identity_has_no_conversation(place: Place) -> None:
    with pytest.raises(BottleError):
        bottle_state.snapshot_transcript(place.identity)
    bottle_state.cleanup_state(place.identity)
