from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from claude_bottle.errors import BottleError
from claude_bottle.state import conversation_copy, transcripts
from claude_bottle.state.damage import Damaged
from claude_bottle.state.paths import Paths
from claude_bottle.state.record import BottleRecord, NewerSchema
from claude_bottle.state.store import Store
from tests.state.test_journal import on_a_small_disk

PROJECT = ".claude/projects/-workspace"
MAIN = f"{PROJECT}/s-1.jsonl"
LINE = b'{"type":"user","message":{"content":"hello"}}\n'


@pytest.fixture
def live(store: Store, record: BottleRecord) -> BottleRecord:
    store.create(record)
    (store.paths.home(record.identity) / PROJECT).mkdir(parents=True)
    return record


def home(paths: Paths, record: BottleRecord) -> Path:
    return paths.home(record.identity)


def archived(paths: Paths, record: BottleRecord, name: str = MAIN) -> bytes:
    return (paths.transcripts_of(record.identity) / "files" / name).read_bytes()


def names(paths: Paths, record: BottleRecord) -> list[str]:
    return [file.name for file in transcripts.load(paths, record.identity).files]


def test_a_conversation_is_archived_with_what_resume_needs(paths: Paths, live: BottleRecord) -> None:
    (home(paths, live) / MAIN).write_bytes(LINE)
    done = live._replace(cwd="/home/ada/shop", exit_code=0, ended="2025-01-01T00:00:00.000000Z")
    assert transcripts.snapshot(paths, done) == paths.transcripts("docs", live.identity)
    assert archived(paths, live) == LINE
    archive = transcripts.load(paths, live.identity)
    assert archive.record == done
    assert not archive.partial
    meta = json.loads((archive.path / "meta.json").read_text())
    expected = {"schema": 1, "identity": live.identity, "agent": "docs", "harness": "claude", "session_id": "s-1",
                "cwd": "/home/ada/shop", "exit_code": 0, "project": PROJECT, "ended": done.ended}  # fmt: skip
    assert expected.items() <= meta.items()


def test_an_archive_is_private(paths: Paths, live: BottleRecord) -> None:
    (home(paths, live) / MAIN).write_bytes(LINE)
    (home(paths, live) / MAIN).chmod(0o666)
    before = os.umask(0)
    try:
        archive = transcripts.snapshot(paths, live)
    finally:
        os.umask(before)
    assert archive is not None
    for path in (paths.root / "transcripts", paths.root / "transcripts/docs", archive, *archive.rglob("*")):
        assert path.stat().st_mode & 0o777 == (0o700 if path.is_dir() else 0o600), path


def test_only_conversation_is_archived(paths: Paths, live: BottleRecord) -> None:
    wanted = [MAIN, f"{PROJECT}/s-1/subagents/agent-7.jsonl"]
    others = [".claude.json", ".claude/settings.json", ".claude/.credentials.json", ".claude/history.jsonl",
              f"{PROJECT}/notes.md", ".bashrc", "x.jsonl", f"{PROJECT}/a b.jsonl", f"{PROJECT}/\x1b[2J.jsonl"]  # fmt: skip
    for name in (*wanted, *others):
        (home(paths, live) / name).parent.mkdir(parents=True, exist_ok=True)
        (home(paths, live) / name).write_bytes(LINE)
    transcripts.snapshot(paths, live)
    assert names(paths, live) == wanted
    transcripts.snapshot(paths, live, [(name, home(paths, live) / name) for name in (*wanted, *others)])
    assert names(paths, live) == wanted
    kept = [path for path in (paths.transcripts_of(live.identity) / "files").rglob("*") if path.is_file()]
    assert len(kept) == 2


def test_the_main_file_comes_first(paths: Paths, live: BottleRecord) -> None:
    for name in ("a-0", "s-1", "z-9"):
        (home(paths, live) / PROJECT / f"{name}.jsonl").write_bytes(LINE)
    transcripts.snapshot(paths, live)
    assert names(paths, live)[0] == MAIN


@pytest.mark.parametrize("found", [None, [(MAIN, Path())]], ids=["searched", "named"])
@pytest.mark.parametrize("link", [MAIN, PROJECT, ".claude/projects", ".claude"])
def test_no_link_is_followed_at_any_place(
    paths: Paths, live: BottleRecord, tmp_path: Path, link: str, found: list[tuple[str, Path]] | None
) -> None:
    outside = tmp_path / "outside"
    (outside / PROJECT).mkdir(parents=True)
    (outside / MAIN).write_bytes(b"secret of the host\n")
    os.removedirs(home(paths, live) / PROJECT)
    home(paths, live).mkdir(exist_ok=True)
    place = home(paths, live) / link
    place.parent.mkdir(parents=True, exist_ok=True)
    place.symlink_to(outside / link)
    transcripts.snapshot(paths, live, found)
    archive = paths.transcripts_of(live.identity)
    assert not [path for path in archive.rglob("*") if path.is_file() and b"secret" in path.read_bytes()]


def test_a_home_that_is_a_link_is_not_read(paths: Paths, live: BottleRecord, tmp_path: Path) -> None:
    (tmp_path / PROJECT).mkdir(parents=True)
    (tmp_path / MAIN).write_bytes(LINE)
    os.removedirs(home(paths, live) / PROJECT)
    home(paths, live).symlink_to(tmp_path)
    assert transcripts.snapshot(paths, live) is None


@pytest.mark.parametrize(
    "name", ["../../record.json", "/etc/passwd", f"{PROJECT}/../../../x.jsonl", f"{PROJECT}//x.jsonl", ""]
)
def test_a_name_that_leads_elsewhere_is_not_archived(paths: Paths, live: BottleRecord, name: str) -> None:
    (home(paths, live) / "x.jsonl").write_bytes(LINE)
    transcripts.snapshot(paths, live, [(name, home(paths, live) / "x.jsonl")])
    assert names(paths, live) == []
    assert transcripts.load(paths, live.identity).partial


@pytest.mark.parametrize("kind", ["fifo", "directory", "socket"])
def test_what_is_no_regular_file_is_passed_over_without_waiting(
    paths: Paths, live: BottleRecord, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import socket

    place = home(paths, live) / PROJECT / "other.jsonl"
    (home(paths, live) / MAIN).write_bytes(LINE)
    if kind == "fifo":
        os.mkfifo(place)
    elif kind == "directory":
        place.mkdir()
    else:
        monkeypatch.chdir(place.parent)
        with socket.socket(socket.AF_UNIX) as bound:
            bound.bind(place.name)
    transcripts.snapshot(paths, live)
    assert names(paths, live) == [MAIN]


def test_a_directory_that_is_named_like_a_file_is_noted(paths: Paths, live: BottleRecord) -> None:
    (home(paths, live) / MAIN).mkdir()
    transcripts.snapshot(paths, live, [(MAIN, home(paths, live) / MAIN)])
    archive = transcripts.load(paths, live.identity)
    assert (archive.files, archive.skipped) == ((), (f"{MAIN}: not a regular file",))


def test_an_empty_file_is_no_conversation(paths: Paths, live: BottleRecord) -> None:
    (home(paths, live) / MAIN).touch()
    (home(paths, live) / PROJECT / "other.jsonl").write_bytes(LINE)
    transcripts.snapshot(paths, live)
    assert names(paths, live) == [f"{PROJECT}/other.jsonl"]


def test_an_endless_file_is_cut_at_its_cap_and_marked(
    paths: Paths, live: BottleRecord, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(conversation_copy, "MAX_FILE", 1 << 20)
    with (home(paths, live) / MAIN).open("wb") as file:
        file.truncate(1 << 40)
    transcripts.snapshot(paths, live)
    archive = transcripts.load(paths, live.identity)
    assert archive.partial
    assert [(file.size, file.whole) for file in archive.files] == [(1 << 20, False)]
    assert "only its first 1048576 bytes" in archive.skipped[0]


def test_too_many_files_and_bytes_are_left_out_and_marked(
    paths: Paths, live: BottleRecord, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(conversation_copy, "MAX_FILES", 3)
    for number in range(5):
        (home(paths, live) / PROJECT / f"{number}.jsonl").write_bytes(LINE)
    transcripts.snapshot(paths, live)
    archive = transcripts.load(paths, live.identity)
    assert (len(archive.files), archive.partial) == (3, True)
    monkeypatch.setattr(conversation_copy, "MAX_FILES", 500)
    monkeypatch.setattr(conversation_copy, "MAX_TOTAL", 2 * len(LINE) + 1)
    (home(paths, live) / PROJECT / "s-1.jsonl").write_bytes(LINE)
    transcripts.snapshot(paths, live)
    archive = transcripts.load(paths, live.identity)
    assert archive.partial
    assert archive.files[0].name == MAIN
    assert archive.files[0].whole


def test_depth_is_bounded(paths: Paths, live: BottleRecord) -> None:
    deep = home(paths, live) / PROJECT / "/".join("d" * 50)
    deep.mkdir(parents=True)
    (deep / "x.jsonl").write_bytes(LINE)
    transcripts.snapshot(paths, live)
    assert not paths.transcripts_of(live.identity).exists()


@pytest.mark.parametrize("later", [b"", LINE, b"x" * len(LINE) + LINE[:-1], None])
def test_a_snapshot_is_never_replaced_by_an_empty_shorter_older_or_missing_one(
    paths: Paths, live: BottleRecord, later: bytes | None
) -> None:
    main = home(paths, live) / MAIN
    main.write_bytes(LINE * 2)
    transcripts.snapshot(paths, live)
    if later is None:
        main.unlink()
    else:
        main.write_bytes(later)
        if len(later) == 2 * len(LINE) - 1:
            main.write_bytes(later + b"\n")  # As long as the first, and older.
            os.utime(main, (1, 1))
    transcripts.snapshot(paths, live)
    assert archived(paths, live) == LINE * 2
    assert names(paths, live) == [MAIN]


def test_a_conversation_that_went_on_replaces_its_beginning(paths: Paths, live: BottleRecord) -> None:
    main = home(paths, live) / MAIN
    main.write_bytes(LINE)
    transcripts.snapshot(paths, live)
    main.write_bytes(LINE * 3)
    transcripts.snapshot(paths, live)
    assert archived(paths, live) == LINE * 3


def test_nothing_said_leaves_no_archive(paths: Paths, live: BottleRecord) -> None:
    assert transcripts.snapshot(paths, live) is None
    assert not (paths.root / "transcripts").exists()
    with pytest.raises(BottleError, match="no transcript of"):
        transcripts.load(paths, live.identity)


def test_a_missing_home_is_no_error(paths: Paths, record: BottleRecord) -> None:
    assert transcripts.snapshot(paths, record) is None


def test_a_crash_while_archiving_leaves_the_old_or_the_new_files(paths: Paths, live: BottleRecord) -> None:
    """And an archive that a crash left half-way says that it is partial."""
    from tests.state.crashes import each_crash

    main = home(paths, live) / MAIN
    second = home(paths, live) / PROJECT / "agent-1.jsonl"
    main.write_bytes(LINE)
    transcripts.snapshot(paths, live)
    main.write_bytes(LINE * 2)
    second.write_bytes(LINE)
    for _ in each_crash(lambda: transcripts.snapshot(paths, live)):
        assert archived(paths, live) in (LINE, LINE * 2)
        archive = transcripts.load(paths, live.identity)
        assert archive.partial or archive.files[0].size == len(LINE) or len(archive.files) == 2
    archive = transcripts.load(paths, live.identity)
    assert [file.name for file in archive.files] == [MAIN, f"{PROJECT}/agent-1.jsonl"]
    assert not archive.partial
    assert archived(paths, live) == LINE * 2


_FULL_DISK = """
import sys
from pathlib import Path
from claude_bottle.errors import BottleError
from claude_bottle.state import transcripts
from claude_bottle.state.paths import Paths
from claude_bottle.state.record import BottleRecord
from claude_bottle.state.store import Store
paths, identity = Paths(sys.argv[1] + "/root"), "docs-7ahq2c"
record = BottleRecord(identity, "docs", "claude", "bubblewrap", status="settled")
Store(paths).create(record)
project = paths.home(identity) / ".claude/projects/-workspace"
project.mkdir(parents=True)
(project / "a.jsonl").write_bytes(b"x" * 1000)
transcripts.snapshot(paths, record)
(project / "a.jsonl").write_bytes(b"x" * 1_200_000)
for call in (lambda: transcripts.snapshot(paths, record), lambda: Store(paths).cleanup(identity)):
    try: call(); raise SystemExit("it fitted")
    except BottleError as problem: assert "free some space" in problem.do, problem.what
archive = transcripts.load(paths, identity)
assert archive.partial, "an archive that misses something says so"
assert [file.size for file in archive.files] == [1000], archive.files
assert archive.file_path(archive.files[0]).read_bytes() == b"x" * 1000
assert (project / "a.jsonl").stat().st_size == 1_200_000, "and what it misses is still there"
assert not list(archive.path.rglob("*.tmp"))
"""


def test_a_full_disk_keeps_the_last_good_archive_and_the_state(tmp_path: Path) -> None:
    done = on_a_small_disk(tmp_path, _FULL_DISK, "2m")
    assert done.returncode == 0, done.stdout + done.stderr


def test_an_archived_conversation_is_put_into_a_fresh_home(paths: Paths, live: BottleRecord, store: Store) -> None:
    (home(paths, live) / MAIN).write_bytes(LINE * 2)
    (home(paths, live) / PROJECT / "agent-1.jsonl").write_bytes(LINE)
    os.utime(home(paths, live) / MAIN, (1_700_000_000, 1_700_000_000))
    store.cleanup(live.identity)
    store.create(transcripts.load(paths, live.identity).record)
    restored = transcripts.restore(paths, live.identity, home(paths, live))
    assert restored == [MAIN, f"{PROJECT}/agent-1.jsonl"]
    assert (home(paths, live) / MAIN).read_bytes() == LINE * 2
    assert (home(paths, live) / MAIN).stat().st_mtime == 1_700_000_000
    assert transcripts.restore(paths, live.identity, home(paths, live)) == []


@pytest.mark.parametrize(("end", "kept"), [(b'{"type":"us', b""), (b'{"type":"user"}', b'{"type":"user"}'), (b"\0\0", b"")])
def test_only_a_torn_last_line_is_left_out_of_what_is_restored(
    paths: Paths, live: BottleRecord, store: Store, end: bytes, kept: bytes
) -> None:
    (home(paths, live) / MAIN).write_bytes(LINE + end)
    store.cleanup(live.identity)
    store.create(live)
    transcripts.restore(paths, live.identity, home(paths, live))
    assert (home(paths, live) / MAIN).read_bytes() == LINE + kept
    assert archived(paths, live) == LINE + end


def test_restoring_follows_no_link_and_overwrites_nothing(paths: Paths, live: BottleRecord, tmp_path: Path) -> None:
    (home(paths, live) / MAIN).write_bytes(LINE)
    transcripts.snapshot(paths, live)
    for planted in (tmp_path / "one", tmp_path / "two"):
        (planted / ".claude").mkdir(parents=True)
    (tmp_path / "outside").mkdir()
    (tmp_path / "one/.claude/projects").symlink_to(tmp_path / "outside")
    (tmp_path / "two" / PROJECT).mkdir(parents=True)
    (tmp_path / "two" / MAIN).write_bytes(b"mine")
    for fresh in ("one", "two"):
        assert transcripts.restore(paths, live.identity, tmp_path / fresh) == []
    assert list((tmp_path / "outside").iterdir()) == []
    assert (tmp_path / "two" / MAIN).read_bytes() == b"mine"


def change_meta(paths: Paths, bottle: BottleRecord, /, **changes: object) -> Path:
    path = paths.transcripts_of(bottle.identity) / "meta.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
    return path


@pytest.mark.parametrize(
    "changes",
    [{"schema": None}, {"schema": 0}, {"record": {}}, {"record": None}, {"files": "x"}, {"files": [1]},
     {"files": [{"name": MAIN}]}, {"files": [{"name": 1, "size": 1, "mtime_ns": 1, "whole": True}]}],
    ids=str,
)  # fmt: skip
def test_a_damaged_archive_is_refused_and_put_aside_by_the_next_snapshot(
    paths: Paths, live: BottleRecord, changes: dict[str, object]
) -> None:
    (home(paths, live) / MAIN).write_bytes(LINE)
    transcripts.snapshot(paths, live)
    path = change_meta(paths, live, **changes)
    before = path.read_bytes()
    with pytest.raises(Damaged):
        transcripts.load(paths, live.identity)
    assert path.read_bytes() == before
    transcripts.snapshot(paths, live)
    assert names(paths, live) == [MAIN]


def test_an_archive_of_a_newer_version_is_left_alone(paths: Paths, live: BottleRecord) -> None:
    (home(paths, live) / MAIN).write_bytes(LINE)
    transcripts.snapshot(paths, live)
    path = change_meta(paths, live, schema=2)
    before = path.read_bytes()
    for call in (lambda: transcripts.load(paths, live.identity), lambda: transcripts.snapshot(paths, live)):
        with pytest.raises(NewerSchema):
            call()
    assert path.read_bytes() == before


def test_a_listed_name_that_is_no_conversation_is_not_restored(paths: Paths, live: BottleRecord) -> None:
    (home(paths, live) / MAIN).write_bytes(LINE)
    transcripts.snapshot(paths, live)
    listed = [{"name": name, "size": 1, "mtime_ns": 1, "whole": True} for name in ("../meta.json", ".bashrc", MAIN)]
    change_meta(paths, live, files=listed)
    assert names(paths, live) == [MAIN]


def test_the_archived_conversation_reads_as_turns(paths: Paths, live: BottleRecord) -> None:
    (home(paths, live) / MAIN).write_bytes(LINE + b"rubbish\n" + LINE)
    transcripts.snapshot(paths, live)
    assert [(turn.role, turn.text) for turn in transcripts.turns(paths, live.identity)] == [("user", "hello")] * 2
