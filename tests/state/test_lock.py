from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from types import SimpleNamespace

import pytest

from claude_bottle.errors import BottleError
from claude_bottle.state import lock
from claude_bottle.state.lock import IdentityLock, LockHeld, held_here
from claude_bottle.state.paths import Paths
from claude_bottle.state.record import RUNNING, ProcessId, boot_id, start_time_of
from claude_bottle.state.store import Store

HOLD = (
    "import sys; from claude_bottle.state.lock import *; from claude_bottle.state.paths import Paths\n"
    "try: lock = IdentityLock(Paths.default(), sys.argv[1]).acquire(wait=False)\n"
    "except LockHeld as problem: print('lost', problem.why, flush=True); sys.exit(1)\n"
    "print('won', flush=True); sys.stdin.read()"
)


def contender(identity: str) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", HOLD, identity], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def first_word(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().partition(" ")[0].strip()


def end(*processes: subprocess.Popen[str]) -> None:
    for process in processes:
        process.communicate()


def test_of_many_processes_exactly_one_wins(bottle: str) -> None:
    contenders = [contender(bottle) for _ in range(6)]
    try:
        assert sorted(first_word(process) for process in contenders) == ["lost"] * 5 + ["won"]
    finally:
        end(*contenders)


def test_the_loser_is_told_who_holds_it(bottle: str, paths: Paths) -> None:
    holder = contender(bottle)
    try:
        assert first_word(holder) == "won"
        with pytest.raises(LockHeld) as caught:
            IdentityLock(paths, bottle).acquire(wait=False)
        assert f"process {holder.pid} since 20" in caught.value.why
        assert caught.value.do == "try again once that has ended"
        assert caught.value.exit_code == 1
    finally:
        end(holder)


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[Callable[[], object]]:
    """What happens while a lock is waited for, a pause each."""
    due: list[Callable[[], object]] = []
    monkeypatch.setattr(lock, "time", SimpleNamespace(monotonic=time.monotonic, sleep=lambda _seconds: due.pop(0)()))
    return due


def test_a_command_that_is_done_in_a_moment_is_waited_for(
    bottle: str, paths: Paths, pauses: list[Callable[[], object]]
) -> None:
    holder = contender(bottle)
    assert first_word(holder) == "won"
    pauses += [lambda: None, lambda: end(holder)]
    with IdentityLock(paths, bottle):
        assert not pauses


def test_one_that_takes_longer_is_named_in_the_end(bottle: str, paths: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "PATIENCE", 0.0)
    holder = contender(bottle)
    try:
        assert first_word(holder) == "won"
        with pytest.raises(LockHeld, match="in use"):
            IdentityLock(paths, bottle).acquire()
    finally:
        end(holder)


def test_a_bottle_that_runs_is_in_use_at_once(bottle: str, paths: Paths, pauses: list[Callable[[], object]]) -> None:
    store, holder = Store(paths), contender(bottle)
    try:
        assert first_word(holder) == "won"
        store.update(bottle, status=RUNNING, keeper=ProcessId(holder.pid, start_time_of(holder.pid) or 0, boot_id()))
        with pytest.raises(LockHeld) as caught:
            IdentityLock(paths, bottle).acquire()
        assert f"claude-bottle stop {bottle}" in caught.value.do
    finally:
        end(holder)
    assert not pauses


def test_one_that_is_removed_meanwhile_is_gone(bottle: str, paths: Paths, pauses: list[Callable[[], object]]) -> None:
    holder = contender(bottle)
    assert first_word(holder) == "won"

    def removed() -> None:
        shutil.rmtree(paths.state(bottle))
        end(holder)

    pauses.append(removed)
    with pytest.raises(BottleError, match="no bottle called"):
        IdentityLock(paths, bottle).acquire()


def test_a_lock_dies_with_its_holder_however_it_dies(bottle: str, paths: Paths) -> None:
    holder = contender(bottle)
    assert first_word(holder) == "won"
    holder.kill()
    end(holder)
    with IdentityLock(paths, bottle):
        pass


def test_a_note_left_by_a_dead_holder_counts_for_nothing(bottle: str, paths: Paths) -> None:
    paths.lock(bottle).write_text(f'{{"pid": {os.getpid()}, "since": "2025-01-01T00:00:00Z"}}')
    with IdentityLock(paths, bottle):
        pass


@pytest.mark.parametrize("note", ["", "{", '{"pid": "x"}', "[]", "\0" * 5000, '{"pid": 1, "since": 7}'])
def test_a_garbled_note_does_not_hide_that_it_is_held(bottle: str, paths: Paths, note: str) -> None:
    holder = contender(bottle)
    try:
        assert first_word(holder) == "won"
        paths.lock(bottle).write_text(note)
        with pytest.raises(LockHeld):
            IdentityLock(paths, bottle).acquire(wait=False)
    finally:
        end(holder)


def test_a_forked_keeper_keeps_it_when_its_parent_lets_go(bottle: str, paths: Paths) -> None:
    ours = IdentityLock(paths, bottle).acquire()
    go_read, go_write = os.pipe()
    keeper = os.fork()
    if keeper == 0:
        os.close(go_write)
        ours.note_holder()
        os.read(go_read, 1)
        os._exit(0 if held_here(paths, bottle) is ours else 1)
    os.close(go_read)
    ours.release()
    with pytest.raises(LockHeld):
        IdentityLock(paths, bottle).acquire(wait=False)
    os.close(go_write)
    assert os.waitpid(keeper, 0)[1] == 0
    with IdentityLock(paths, bottle):
        pass


def test_a_program_started_by_the_holder_does_not_inherit_it(bottle: str, paths: Paths) -> None:
    """Once it runs: Popen returns when exec has begun to close descriptors, and a lock goes a moment after its own."""
    ours = IdentityLock(paths, bottle).acquire()
    argv = ["sh", "-c", "echo up; exec cat"]
    child = subprocess.Popen(argv, close_fds=False, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert first_word(child) == "up"
        ours.release()
        with IdentityLock(paths, bottle):
            pass
    finally:
        end(child)


def test_a_lock_on_removed_state_is_worth_nothing(bottle: str, paths: Paths, store: Store) -> None:
    """The loser opened the file before cleanup removed it: it must not own an identity that is gone, or is anew."""
    late = IdentityLock(paths, bottle)
    fd = os.open(paths.lock(bottle), os.O_RDWR | os.O_CREAT, 0o600)
    late._open = lambda: fd  # type: ignore[method-assign]  # the moment between its open and its flock
    store.cleanup(bottle)
    with pytest.raises(BottleError, match="no bottle called"):
        late.acquire()


def test_there_is_no_lock_without_state(paths: Paths) -> None:
    with pytest.raises(BottleError, match="no bottle called"):
        IdentityLock(paths, "docs-000000").acquire()
    assert not paths.root.exists()


def test_a_link_in_the_place_of_the_lock_is_not_followed(bottle: str, paths: Paths) -> None:
    canary, missing = paths.root / "canary", paths.root / "missing"
    canary.write_text("untouched")
    for target in (canary, missing):
        paths.lock(bottle).symlink_to(target)
        with pytest.raises(BottleError):
            IdentityLock(paths, bottle).acquire()
        paths.lock(bottle).unlink()
    assert canary.read_text() == "untouched"
    assert not missing.exists()


def test_a_lock_that_is_no_file_of_ours_is_refused_at_once(bottle: str, paths: Paths) -> None:
    os.mkfifo(paths.lock(bottle))
    with pytest.raises(BottleError, match="not a regular file"):
        IdentityLock(paths, bottle).acquire()


def test_what_this_process_holds_is_known(bottle: str, paths: Paths) -> None:
    assert held_here(paths, bottle) is None
    with IdentityLock(paths, bottle) as ours:
        assert held_here(paths, bottle) is ours
        assert ours.acquire() is ours
    assert held_here(paths, bottle) is None
