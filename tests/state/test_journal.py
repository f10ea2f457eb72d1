from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from claude_bottle.errors import BottleError
from claude_bottle.state import journal as journals
from claude_bottle.state.damage import Damaged
from claude_bottle.state.journal import Journal, JournalFull, read, verify
from claude_bottle.state.journal_read import LINE_LIMIT
from claude_bottle.state.paths import Paths
from tests.state.crashes import each_crash


def kinds(path: Path) -> list[str]:
    return [line.event["kind"] if line.event else "?" for line in read(path)]


def write(paths: Paths, identity: str, *names: str) -> None:
    journal = Journal.open(paths, identity)
    for name in names:
        journal.append(name, detail="x")
    journal.close()


def test_events_are_numbered_timed_and_chained(bottle: str, paths: Paths) -> None:
    write(paths, bottle, "created", "launched")
    write(paths, bottle, "settled")
    events = [line.event for line in read(paths.journal(bottle))]
    assert [event and (event["seq"], event["kind"]) for event in events] == [
        (1, "created"),
        (2, "launched"),
        (3, "settled"),
    ]
    assert all(event and event["wall"].endswith("Z") and event["mono"] > 0 for event in events)
    assert verify(paths.journal(bottle)) == []


def test_a_journal_is_private_and_none_of_it_is_left_beyond_its_end(bottle: str, paths: Paths) -> None:
    write(paths, bottle, "created")
    found = paths.journal(bottle).stat()
    assert found.st_mode & 0o777 == 0o600
    assert found.st_size == len(paths.journal(bottle).read_bytes())


def test_an_event_is_in_the_file_when_append_returns(bottle: str, paths: Paths) -> None:
    script = (
        "import sys, os, signal; from claude_bottle.state.journal import Journal\n"
        "from claude_bottle.state.paths import Paths\n"
        "Journal.open(Paths.default(), sys.argv[1]).append('created'); os.kill(os.getpid(), signal.SIGKILL)"
    )
    subprocess.run([sys.executable, "-c", script, bottle], check=False)
    assert kinds(paths.journal(bottle)) == ["created"]
    write(paths, bottle, "settled")
    assert verify(paths.journal(bottle)) == []


def test_a_durable_event_is_on_the_disk_when_append_returns(
    bottle: str, paths: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[int] = []
    real = os.fdatasync
    monkeypatch.setattr(os, "fdatasync", lambda fd: (real(fd), synced.append(os.fstat(fd).st_size)))
    journal = Journal.open(paths, bottle)
    journal.append("launched", durable=True)
    assert synced == [paths.journal(bottle).stat().st_size]
    journal.close()


@pytest.mark.parametrize("torn", [b'{"seq": 3, "wal', b"\0" * 5000, b"not json\n", b'{"seq": 3}\n\0\0\0', b"x" * 300_000])
def test_a_torn_end_is_set_aside_and_the_chain_goes_on(bottle: str, paths: Paths, torn: bytes) -> None:
    write(paths, bottle, "created", "launched")
    path = paths.journal(bottle)
    with path.open("ab") as file:
        file.write(torn)
    write(paths, bottle, "settled")
    assert kinds(path) == ["created", "launched", "note", "settled"]
    assert verify(path) == []
    aside = path.with_name("journal.jsonl.torn")
    assert aside.read_bytes() == torn + b"\n"
    assert aside.stat().st_mode & 0o777 == 0o600


def test_a_first_line_that_is_torn_is_set_aside_too(bottle: str, paths: Paths) -> None:
    paths.journal(bottle).write_bytes(b'{"se')
    paths.journal(bottle).chmod(0o600)
    write(paths, bottle, "created")
    assert kinds(paths.journal(bottle)) == ["note", "created"]
    assert verify(paths.journal(bottle)) == []


def test_a_crash_at_any_call_loses_no_acknowledged_event(bottle: str, paths: Paths) -> None:
    path = paths.journal(bottle)
    acknowledged = paths.root / "acknowledged"

    def work() -> None:
        journal = Journal.open(paths, bottle)
        for name in ("created", "launched", "settled"):
            journal.append(name, durable=True)
            with acknowledged.open("a") as file:
                file.write(f"{name}\n")
        journal.close()

    for _ in each_crash(work):
        written = list(kinds(path)) if path.exists() else []
        known = acknowledged.read_text().split() if acknowledged.exists() else []
        assert written[: len(known)] == known
        if path.exists():
            write(paths, bottle, "resumed")
            assert verify(path) == []
        for leftover in (path, acknowledged):
            leftover.unlink(missing_ok=True)


def test_a_second_writer_is_refused(bottle: str, paths: Paths) -> None:
    first = Journal.open(paths, bottle)
    with pytest.raises(BottleError, match="another process writes"):
        Journal.open(paths, bottle)
    first.append("created")
    first.close()
    write(paths, bottle, "settled")


@pytest.mark.parametrize("kind", ["link", "fifo", "others"])
def test_a_journal_that_is_no_file_of_ours_is_refused(bottle: str, paths: Paths, kind: str) -> None:
    path = paths.journal(bottle)
    if kind == "link":
        path.symlink_to("elsewhere")
    elif kind == "fifo":
        os.mkfifo(path, 0o600)
    else:
        path.touch()
        path.chmod(0o666)
    with pytest.raises(Damaged):
        Journal.open(paths, bottle)
    assert not path.with_name("elsewhere").exists()


def test_an_event_too_large_is_cut_and_says_so(bottle: str, paths: Paths) -> None:
    journal = Journal.open(paths, bottle)
    journal.append("decision", host="x" * (LINE_LIMIT + 1))
    journal.append("settled")
    journal.close()
    lines = [line.event for line in read(paths.journal(bottle))]
    assert lines[0] is not None
    assert lines[0]["data"]["cut"] is True
    assert lines[0]["data"]["bytes"] > LINE_LIMIT
    assert verify(paths.journal(bottle)) == []


@pytest.mark.parametrize("value", ["a\nb", "\udc80", "\u2028", '"', "\x1b]0;x\x07"])
def test_whatever_text_is_recorded_stays_one_line(bottle: str, paths: Paths, value: str) -> None:
    write(paths, bottle, "created")
    journal = Journal.open(paths, bottle)
    journal.append("decision", host=value, kind=value)
    journal.close()
    raw = paths.journal(bottle).read_bytes()
    assert raw.count(b"\n") == 2
    assert raw.isascii()
    assert json.loads(raw.splitlines()[1])["data"] == {"host": value, "kind": value}


# Runs on a file system of its own of 1 MiB that it fills: what the journal does when the disk is full.
_FULL_DISK = """
import os, sys
from pathlib import Path
from claude_bottle.state.journal import Journal, JournalFull, read, verify
from claude_bottle.state.paths import Paths
from claude_bottle.state.record import BottleRecord
from claude_bottle.state.store import Store
from claude_bottle.errors import BottleError
paths, identity = Paths(sys.argv[1] + "/root"), "docs-7ahq2c"
Store(paths).create(BottleRecord(identity, "docs", "claude", "bubblewrap"))
journal = Journal.open(paths, identity)
journal.append("created")
before = Path(paths.record(identity)).read_bytes()
with open(sys.argv[1] + "/agent-fills-the-disk", "wb", buffering=0) as greedy:
    try:
        while True: greedy.write(bytes(4096))
    except OSError: pass
    told = None
    for number in range(10_000):
        try: journal.append("decision", number=number, detail="x" * 500)
        except JournalFull as problem:
            told = problem
            break
    assert told is not None and told.recorded, "the keeper is told while the event is still recorded"
    try: greedy.write(bytes(4096)); raise SystemExit("the disk was not full")
    except OSError: pass
    for name in ("agent_exited", "bottle_down", "preserved"):  # the last events find room all the same
        try: journal.append(name, durable=True)
        except JournalFull as problem: assert problem.recorded, name
    lost = 0
    while not lost:
        try: journal.append("decision", detail="x" * 500)
        except JournalFull as problem: lost = not problem.recorded
    head = journal.head
    journal.close()
    assert verify(paths.journal(identity), head) == [], "no half line is left"
    assert {"agent_exited", "bottle_down", "preserved"} <= {line.event["kind"] for line in read(paths.journal(identity))}
    try: Store(paths).update(identity, status="settled"); raise SystemExit("an update fitted")
    except BottleError as problem: assert "free some space" in problem.do
assert Path(paths.record(identity)).read_bytes() == before
os.unlink(sys.argv[1] + "/agent-fills-the-disk")
journal = Journal.open(paths, identity)
journal.append("resumed")
journal.close()
assert verify(paths.journal(identity)) == []
"""


def on_a_small_disk(place: Path, script: str, size: str = "1m") -> subprocess.CompletedProcess[str]:
    """Run a script in a private mount namespace, with a tmpfs of `size` on `place`, which it gets as its argument."""
    unshare = ["unshare", "--user", "--map-root-user", "--mount", "--propagation", "private"]
    if subprocess.run([*unshare, "true"], check=False, capture_output=True).returncode:
        pytest.skip("cannot run here: no user namespaces")
    inner = f'mount -t tmpfs -o size={size},mode=700 none "$1" && exec "$0" -c "$2" "$1"'
    argv = [*unshare, "sh", "-c", inner, sys.executable, str(place), script]
    return subprocess.run(argv, capture_output=True, text=True, check=False)


def test_a_full_disk_stops_the_keeper_before_an_event_is_lost(tmp_path: Path) -> None:
    done = on_a_small_disk(tmp_path, _FULL_DISK)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_failing_disk_is_reported_and_leaves_no_half_line(
    bottle: str, paths: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = Journal.open(paths, bottle)
    journal.append("created")
    real = os.pwrite
    left = [10]

    def failing(fd: int, data: bytes, offset: int) -> int:
        """Ten bytes go through, then the disk fails."""
        if not left:
            raise OSError(5, "Input/output error")
        return real(fd, data[: left.pop()], offset)

    monkeypatch.setattr(os, "pwrite", failing)
    with pytest.raises(JournalFull) as caught:
        journal.append("decision", detail="x")
    assert caught.value.recorded is False
    assert kinds(paths.journal(bottle)) == ["created"]
    monkeypatch.setattr(os, "pwrite", real)
    journal.append("settled")
    journal.close()
    assert kinds(paths.journal(bottle)) == ["created", "settled"]
    assert verify(paths.journal(bottle)) == []


def test_an_end_of_nothing_but_rubbish_is_refused_and_kept(
    bottle: str, paths: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journals, "_TORN_LIMIT", 1 << 18)
    write(paths, bottle, "created")
    path = paths.journal(bottle)
    with path.open("ab") as file:
        file.write(bytes(3 << 20))
    before = path.stat().st_size
    with pytest.raises(Damaged):
        Journal.open(paths, bottle)
    assert path.stat().st_size == before
