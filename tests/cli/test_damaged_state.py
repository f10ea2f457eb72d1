"""Whatever stands where our state should be, every verb says what is wrong and what to do: no traceback, no waiting."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from claude_bottle.cli import main
from claude_bottle.state import transcripts
from claude_bottle.state.paths import Paths
from claude_bottle.state.record import BottleRecord, timestamp
from claude_bottle.state.store import Store

IDENTITY = "docs-7ahq2c"
VERBS = (
    ["ls", "--all"], ["ls", "--all", "--json"], ["log", IDENTITY], ["log", IDENTITY, "--verify"], ["egress", IDENTITY],
    ["transcript", IDENTITY], ["resume", IDENTITY, "--dry-run"], ["attach", IDENTITY], ["exec", IDENTITY, "--", "true"],
    ["stop", IDENTITY], ["cleanup", IDENTITY, "--yes"],
)  # fmt: skip
STATE = f"state/{IDENTITY}"
ARCHIVE = f"transcripts/docs/{IDENTITY}"
FILES = (
    f"{STATE}/record.json", f"{STATE}/plan.json", f"{STATE}/journal.jsonl", f"{STATE}/lock", f"{ARCHIVE}/meta.json",
    "trust.json", "config.json", f"run/{IDENTITY}.sock",
)  # fmt: skip
DIRECTORIES = (".", "state", STATE, f"{STATE}/home", "run", "transcripts", "transcripts/docs", ARCHIVE, f"{ARCHIVE}/files")
ESC, NUL, OVERRIDE = chr(27), chr(0), chr(0x202E)


def content(data: bytes) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        path.write_bytes(data)
        path.chmod(0o600)

    return write


def a_socket(path: Path) -> None:
    directory = os.open(path.parent, os.O_PATH)
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(f"/proc/self/fd/{directory}/{path.name}")
    os.close(directory)


def writable_by_all(path: Path) -> None:
    path.write_text("{}")
    path.chmod(0o666)


SPOILT: dict[str, Callable[[Path], None]] = {
    "nothing": lambda path: None,
    "empty": content(b""),
    "rubbish": content(bytes(range(256)) * 4),
    "endless-number": content(b'{"schema": 2, "exit_code": ' + b"9" * 5000 + b"}"),
    "endless-depth": content(b'{"a":' * 100_000),
    "list": content(b"[]"),
    "twins": content(json.dumps({ESC: 1}).replace("}", ", ").encode() + json.dumps({ESC: 1})[1:].encode()),
    "newer": content(b'{"schema": 99}'),
    "endlessly-newer": content(b'{"schema": ' + b"9" * 4000 + b"}"),
    "link": lambda path: path.symlink_to("/etc/passwd"),
    "dangling-link": lambda path: path.symlink_to("/nonexistent/x"),
    "link-to-itself": lambda path: path.symlink_to(path),
    "fifo": os.mkfifo,
    "directory": lambda path: path.mkdir(),
    "socket": a_socket,
    "writable-by-all": writable_by_all,
}


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A state root with one preserved bottle and its archive, and a directory to stand in."""
    paths = Paths(tmp_path / "root")
    monkeypatch.setenv("CLAUDE_BOTTLE_HOME", str(paths.root))
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "project").mkdir()
    monkeypatch.chdir(tmp_path / "project")
    record = BottleRecord(
        IDENTITY, "docs", "shell", "bubblewrap", status="preserved", created=timestamp(), cwd=str(tmp_path / "project"),
        preserved=("exit 3",),
    )  # fmt: skip
    Store(paths).create(record)
    conversation = paths.home(IDENTITY) / ".claude/projects/-workspace/a.jsonl"
    conversation.parent.mkdir(parents=True)
    conversation.write_text(json.dumps({"type": "user", "message": {"content": "hello"}}) + "\n")
    transcripts.snapshot(paths, record)
    (paths.root / "run").mkdir(mode=0o700)
    return paths.root


def every_verb_copes(capfd: pytest.CaptureFixture[str], spoil: Callable[[], None]) -> None:
    for words in VERBS:
        spoil()
        code = main(words)
        told = capfd.readouterr()
        assert code in (0, 1, 2, 3, 4), (words, told.err)
        assert "bug" not in told.err, words
        assert len(told.out + told.err) < 6000, words
        assert all(char.isprintable() or char == "\n" for char in told.out + told.err), (words, told)
        if code:
            assert told.out.strip() or told.err.startswith("claude-bottle: "), words


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("how", SPOILT)
def test_no_file_of_our_state_can_upset_a_verb(root: Path, name: str, how: str, capfd: pytest.CaptureFixture[str]) -> None:
    path = root / name

    def spoil() -> None:
        if not path.parent.is_dir():
            return  # an earlier verb has removed the state
        if path.is_dir() and not path.is_symlink():
            path.rmdir()
        path.unlink(missing_ok=True)
        SPOILT[how](path)

    every_verb_copes(capfd, spoil)


@pytest.mark.parametrize("name", DIRECTORIES)
@pytest.mark.parametrize("how", ["nothing", "link", "empty", "fifo"])
def test_nothing_in_place_of_a_directory_can_upset_a_verb(
    root: Path, name: str, how: str, capfd: pytest.CaptureFixture[str]
) -> None:
    path = root / name
    aside = root.with_name("aside")
    path.rename(aside)
    if how == "link":
        path.symlink_to(aside)
    else:
        SPOILT[how](path)
    every_verb_copes(capfd, lambda: None)


VALUES = (
    None, -1, 10**30, "", "x" * 4000, "../../etc", f"a{ESC}]0;x", f"{OVERRIDE}abc", NUL, [], [f"{ESC}[2J"], [".."], {},
    {"pid": 10**25, "start_time": 1, "boot_id": "x"}, "0001-01-01", "running", "docker",
)  # fmt: skip


@pytest.mark.parametrize("key", BottleRecord("a-000000", "a", "", "").to_dict())
def test_no_value_in_a_record_can_upset_a_verb(root: Path, key: str, capfd: pytest.CaptureFixture[str]) -> None:
    path = root / STATE / "record.json"
    whole = json.loads(path.read_text())
    for value in VALUES:
        path.parent.mkdir(exist_ok=True)
        every_verb_copes(capfd, lambda: put_back(path, {**whole, key: value}))  # noqa: B023


def put_back(path: Path, record: dict[str, object]) -> None:
    if path.parent.is_dir():
        path.write_text(json.dumps(record))
        path.chmod(0o600)
