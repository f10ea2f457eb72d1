from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from claude_bottle.errors import BottleError, UsageError
from claude_bottle.model.capability import Capability
from claude_bottle.state import lock
from claude_bottle.state import record as records
from claude_bottle.state.damage import Damaged
from claude_bottle.state.lock import IdentityLock, LockHeld
from claude_bottle.state.paths import Paths
from claude_bottle.state.record import BottleRecord, NewerSchema, this_process
from claude_bottle.state.store import Store
from tests.state.crashes import each_crash


def conversation(paths: Paths, identity: str, text: bytes = b'{"type":"user"}\n') -> Path:
    path = paths.home(identity) / ".claude/projects/-workspace/s-1.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text)
    return path


def test_a_new_bottle_has_a_private_directory_a_record_and_a_home(store: Store, record: BottleRecord) -> None:
    store.create(record)
    state = store.paths.state(record.identity)
    assert store.load(record.identity) == record
    assert {p.name: oct(p.stat().st_mode & 0o777) for p in state.iterdir()} == {
        "record.json": "0o600",
        "home": "0o700",
    }
    assert state.stat().st_mode & 0o777 == 0o700


def test_an_identity_is_taken_once(store: Store, record: BottleRecord) -> None:
    store.create(record)
    with pytest.raises(BottleError, match="taken"):
        store.create(record._replace(agent="other"))
    assert store.load(record.identity) == record
    assert os.listdir(store.paths.states) == [record.identity]


def test_a_crash_while_creating_leaves_a_whole_bottle_or_none(store: Store, record: BottleRecord) -> None:
    for _ in each_crash(lambda: store.create(record)):
        assert [entry.status for entry in store.list()] in ([], ["interrupted"])
        subprocess.run(["rm", "-rf", store.paths.root], check=True)
    assert store.load(record.identity) == record


def test_a_crash_while_updating_leaves_the_old_or_the_new_record(store: Store, record: BottleRecord) -> None:
    store.create(record)
    for _ in each_crash(lambda: store.update(record.identity, status="running", exit_code=3)):
        found = store.load(record.identity)
        assert (found.status, found.exit_code) in (("starting", None), ("running", 3))
        store.update(record.identity, status="starting", exit_code=None)
    assert store.load(record.identity).exit_code == 3


def test_a_crash_while_cleaning_up_leaves_a_whole_bottle_or_none(store: Store, record: BottleRecord) -> None:
    """And its conversation in any case: in the home, in the archive, or in both."""
    archived = store.paths.transcripts_of(record.identity)

    def afresh() -> None:
        shutil.rmtree(store.paths.root, ignore_errors=True)
        store.create(record._replace(status="settled"))
        conversation(store.paths, record.identity)

    afresh()
    for _ in each_crash(lambda: store.cleanup(record.identity)):
        assert [entry.status for entry in store.list()] in ([], ["settled"])
        places = (store.paths.state(record.identity), archived)
        assert any(path.read_bytes() for place in places for path in place.rglob("s-1.jsonl"))
        store.sweep()
        assert os.listdir(store.paths.states) in ([], [record.identity])
        afresh()
    assert os.listdir(store.paths.states) == []


def test_leftovers_of_crashes_are_swept_and_fresh_ones_left(store: Store, bottle: str) -> None:
    old, new, doomed = (store.paths.states / name for name in (".new-1", ".new-2", f".removing-{bottle}-1"))
    for directory in (old, new, doomed):
        (directory / "home").mkdir(parents=True)
    os.utime(old, (0, 0))
    store.sweep()
    assert sorted(os.listdir(store.paths.states)) == [".new-2", bottle]


def test_updates_at_the_same_time_lose_nothing(store: Store, bottle: str) -> None:
    script = (
        "import sys; from claude_bottle.state.store import Store; from claude_bottle.state.paths import Paths\n"
        "for n in range(20): Store(Paths.default()).mark_preserved(sys.argv[1], f'{sys.argv[2]}-{n}')"
    )
    children = [subprocess.Popen([sys.executable, "-c", script, bottle, str(n)]) for n in range(3)]
    assert [child.wait() for child in children] == [0, 0, 0]
    assert len(set(store.load(bottle).preserved)) == 60


def test_an_update_keeps_the_types_of_a_record(store: Store, bottle: str) -> None:
    with pytest.raises(ValueError):
        store.update(bottle, exit_code="137")
    with pytest.raises((TypeError, ValueError)):  # TypeError from Python 3.13 on
        store.update(bottle, no_such_field=1)
    assert store.load(bottle).exit_code is None


def test_an_unknown_identity_is_a_known_error(store: Store) -> None:
    for call in (store.load, store.update):
        with pytest.raises(BottleError, match="no bottle called docs-000000") as caught:
            call("docs-000000")
        assert caught.value.exit_code == 1


@pytest.mark.parametrize("hostile", ["..", "../../etc", "a/b-123456", "-a-123456", "docs-7ahq2c\n", "docs"])
def test_an_identity_never_becomes_a_path_unchecked(store: Store, hostile: str) -> None:
    for call in (store.load, store.cleanup, store.exists):
        with pytest.raises(UsageError):
            call(hostile)


def test_listing_before_first_use_makes_nothing(store: Store) -> None:
    assert store.list() == []
    assert not store.paths.root.exists()


def test_foreign_entries_are_passed_over(store: Store, bottle: str, tmp_path: Path) -> None:
    (store.paths.states / "notes.txt").write_text("mine")
    (store.paths.states / "lost+found").mkdir()
    (store.paths.states / "docs-aaaaaa").symlink_to(tmp_path)
    assert [entry.identity for entry in store.list()] == [bottle]


def damage_truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:40])


def damage_empty(path: Path) -> None:
    path.write_bytes(b"")


def damage_link(path: Path) -> None:
    path.rename(path.with_name("real"))
    path.symlink_to("real")


def damage_mode(path: Path) -> None:
    path.chmod(0o666)


def damage_missing(path: Path) -> None:
    path.unlink()


def damage_other_identity(path: Path) -> None:
    path.write_text(path.read_text().replace("docs-7ahq2c", "docs-999999"))


def damage_hard_link(path: Path) -> None:
    os.link(path, path.with_name("second"))


@pytest.mark.parametrize(
    "spoil",
    [
        damage_truncate,
        damage_empty,
        damage_link,
        damage_mode,
        damage_missing,
        damage_other_identity,
        damage_hard_link,
    ],
)
def test_damaged_state_is_listed_with_its_remedy_and_left_as_it_is(store: Store, bottle: str, spoil: object) -> None:
    spoil(store.paths.record(bottle))  # type: ignore[operator]
    before = {path: path.lstat().st_mtime_ns for path in store.paths.state(bottle).iterdir()}
    entry = store.list()[0]
    assert (entry.status, entry.record) == ("damaged", None)
    assert isinstance(entry.problem, Damaged)
    assert entry.problem.do
    for change in (lambda: store.update(bottle, exit_code=1), lambda: store.mark_preserved(bottle, "x")):
        with pytest.raises(Damaged):
            change()
    assert {path: path.lstat().st_mtime_ns for path in store.paths.state(bottle).iterdir()} == before


def test_state_of_a_newer_version_is_listed_and_never_changed(store: Store, bottle: str) -> None:
    path = store.paths.record(bottle)
    path.write_text(json.dumps({**json.loads(path.read_text()), "schema": 9, "new": 1}))
    before = path.read_bytes()
    assert [entry.status for entry in store.list()] == ["newer"]
    for change in (
        lambda: store.update(bottle, exit_code=1), lambda: store.mark_preserved(bottle, "x"),
        lambda: store.cleanup(bottle),
    ):  # fmt: skip
        with pytest.raises(NewerSchema):
            change()
    assert path.read_bytes() == before


def test_bottles_are_listed_oldest_first_and_broken_ones_last(store: Store, record: BottleRecord) -> None:
    for identity, created in (
        ("docs-bbbbbb", "2025-02"),
        ("docs-cccccc", "2025-01"),
        ("docs-aaaaaa", "2025-03"),
    ):
        store.create(record._replace(identity=identity, created=created))
    store.paths.record("docs-cccccc").write_text("{")
    assert [entry.identity for entry in store.list()] == ["docs-bbbbbb", "docs-aaaaaa", "docs-cccccc"]


def test_a_record_whose_pid_lives_as_someone_else_is_interrupted(store: Store, record: BottleRecord) -> None:
    stranger = this_process()._replace(start_time=1)
    store.create(record._replace(status="running", keeper=stranger))
    assert store.list()[0].status == "interrupted"


def test_a_bottle_that_is_settled_and_left_by_its_keeper_while_it_is_listed_is_not_interrupted(
    store: Store, record: BottleRecord, monkeypatch: pytest.MonkeyPatch
) -> None:
    keeper = subprocess.Popen(["sleep", "600"])
    started = records.start_time_of(keeper.pid)
    assert started is not None
    store.create(record._replace(status="running", keeper=this_process()._replace(pid=keeper.pid, start_time=started)))
    real = records.is_alive

    def ending(process: records.ProcessId | None) -> bool:
        """The record was read; now its keeper has its last words and goes."""
        if keeper.poll() is None:
            store.update(record.identity, status="settled", keeper=None)
            keeper.kill()
            keeper.wait()
        return real(process)

    monkeypatch.setattr(records, "is_alive", ending)
    assert [entry.status for entry in store.list()] == ["settled"]


@pytest.mark.parametrize("look", ["identities", "exists"])
def test_a_bottle_that_goes_just_after_it_was_seen_is_none_and_no_damaged_one(
    store: Store, bottle: str, look: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = getattr(store, look)

    def going(*args: str) -> object:
        seen = real(*args)
        shutil.rmtree(store.paths.state(bottle), ignore_errors=True)
        return seen

    monkeypatch.setattr(store, look, going)
    if look == "identities":
        assert store.list() == []
    else:
        assert store.find(bottle) is None


def test_cleanup_removes_the_state_and_keeps_the_conversation(store: Store, bottle: str) -> None:
    conversation(store.paths, bottle)
    store.paths.run_dir.mkdir()
    store.paths.socket(bottle).touch()
    store.cleanup(bottle)
    assert store.identities() == []
    assert not store.paths.socket(bottle).exists()
    archived = store.paths.transcripts_of(bottle) / "files/.claude/projects/-workspace/s-1.jsonl"
    assert archived.read_bytes() == b'{"type":"user"}\n'


def test_cleanup_of_nothing_and_twice_is_harmless(store: Store, bottle: str) -> None:
    store.cleanup("docs-000000")
    store.cleanup(bottle)
    store.cleanup(bottle)


def test_cleanup_of_what_somebody_else_removes_just_then_is_harmless(
    store: Store, bottle: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = store.load

    def going(identity: str) -> BottleRecord:
        record = real(identity)
        shutil.rmtree(store.paths.state(identity))
        return record

    monkeypatch.setattr(store, "load", going)
    store.cleanup(bottle)
    assert store.identities() == []


def test_cleanup_of_damaged_state_keeps_the_conversation(store: Store, bottle: str) -> None:
    conversation(store.paths, bottle)
    store.paths.record(bottle).write_text("{")
    store.cleanup(bottle)
    assert store.identities() == []
    assert list(store.paths.transcripts_of(bottle).rglob("*.jsonl"))


def test_cleanup_of_one_bottle_touches_no_other(store: Store, record: BottleRecord, bottle: str) -> None:
    store.create(record._replace(identity="docs-others"))
    store.cleanup(bottle)
    assert store.load("docs-others").identity == "docs-others"


def test_a_bottle_whose_keeper_lives_is_not_cleaned_up(store: Store, record: BottleRecord) -> None:
    child = subprocess.Popen(["sleep", "60"])
    try:
        from claude_bottle.state.record import start_time_of

        started = start_time_of(child.pid)
        assert started is not None
        keeper = this_process()._replace(pid=child.pid, start_time=started)
        store.create(record._replace(status="running", keeper=keeper))
        with pytest.raises(BottleError) as caught:
            store.cleanup(record.identity)
        assert f"claude-bottle stop {record.identity}" in caught.value.do
        assert store.exists(record.identity)
    finally:
        child.kill()
        child.wait()


def test_a_bottle_whose_lock_another_process_holds_is_not_cleaned_up(
    store: Store, bottle: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lock, "PATIENCE", 0.0)
    script = (
        "import sys; from claude_bottle.state.lock import IdentityLock; from claude_bottle.state.paths import Paths\n"
        "lock = IdentityLock(Paths.default(), sys.argv[1]).acquire(); print('held', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen([sys.executable, "-c", script, bottle], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdin is not None
        holder.stdout.readline()
        with pytest.raises(LockHeld):
            store.cleanup(bottle)
        assert store.exists(bottle)
        holder.stdin.close()
    store.cleanup(bottle)
    assert not store.exists(bottle)


def test_whoever_holds_the_lock_itself_may_clean_up(store: Store, record: BottleRecord) -> None:
    store.create(record._replace(status="settling", keeper=this_process()))
    with IdentityLock(store.paths, record.identity):
        store.cleanup(record.identity)
    assert not store.exists(record.identity)


def test_state_is_not_removed_when_its_conversation_cannot_be_archived(store: Store, bottle: str) -> None:
    conversation(store.paths, bottle)
    (store.paths.root / "transcripts").symlink_to("/nowhere")
    with pytest.raises(BottleError):
        store.cleanup(bottle)
    assert store.exists(bottle)


def test_listing_loads_nothing_heavy(store: Store, bottle: str) -> None:
    script = (
        "import sys; from claude_bottle.state.store import Store; from claude_bottle.state.paths import Paths\n"
        "assert len(Store(Paths.default()).list()) == 1\n"
        "heavy = {'pathlib', 'dataclasses', 'inspect', 'subprocess', 'socket', 'ctypes', 'hashlib', 'asyncio', 'ssl'}\n"
        "print(sorted(heavy & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-I", "-c", f"import sys; sys.path.insert(0, {os.getcwd()!r})\n{script}"],
                          capture_output=True, text=True, check=True)  # fmt: skip
    assert done.stdout.strip() == "[]"


def test_a_record_that_could_not_be_read_again_is_not_written(store: Store, record: BottleRecord) -> None:
    store.create(record)
    layers = tuple(Capability("dockerfile", (), f"RUN {n} {'x' * 65_000}") for n in range(20))
    with pytest.raises(BottleError, match="too large"):
        store.update(record.identity, layers=layers)
    assert store.load(record.identity).layers == ()
