"""What an agent does, as it happens."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from claude_bottle.errors import BottleError
from claude_bottle.state.journal import Journal
from claude_bottle.state.paths import Paths
from claude_bottle.state.record import BottleRecord, ProcessId, boot_id, start_time_of, this_process, timestamp
from claude_bottle.state.store import Store
from claude_bottle.workflow import tree_scan, watching
from claude_bottle.workflow.watching import Watch, calls, watch

IDENTITY, SESSION = "reviewer-p02mfe", "6f1f7a0e-1111-4222-8333-444455556666"


def call(name: str, **given: object) -> bytes:
    block = {"type": "tool_use", "id": "t1", "name": name, "input": given}
    message = {"role": "assistant", "content": [block]}
    return json.dumps({"type": "assistant", "timestamp": "2026-01-01T00:00:00.000Z", "message": message}).encode()


class Bottle:
    def __init__(self, paths: Paths) -> None:
        self.paths = paths
        record = BottleRecord(IDENTITY, "reviewer", "claude", "fake", status="running", created=timestamp(),
                              session_id=SESSION, keeper=this_process())  # fmt: skip
        Store(paths).create(record)
        paths.workspace(IDENTITY).mkdir()
        self.journal = Journal.open(paths, IDENTITY)
        self.conversation = paths.home(IDENTITY) / ".claude" / "projects" / "-workspace" / f"{SESSION}.jsonl"
        self.conversation.parent.mkdir(parents=True)

    def says(self, *lines: bytes) -> None:
        with open(self.conversation, "ab") as file:
            file.write(b"".join(line + b"\n" for line in lines))


@pytest.fixture
def bottle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bottle]:
    monkeypatch.setattr(tree_scan, "_LEAST_PAUSE", 0.0)
    monkeypatch.setattr(tree_scan, "_SHARE", 0.0)
    made = Bottle(Paths(tmp_path / "root"))
    yield made
    made.journal.close()


def told(watched: Watch) -> list[tuple[str, str]]:
    return [(one.what, one.text) for one in watched.poll()]


def test_hosts_commands_and_files_appear_when_they_happen(bottle: Bottle) -> None:
    bottle.says(call("Bash", command="make test", description="Run the tests"))
    watched = Watch(IDENTITY, bottle.paths)
    assert told(watched) == [("command", "make test")]
    bottle.journal.append("decision", host="pypi.org", port=443, method="GET", path="/simple/", allow=True, reason="")
    bottle.journal.append("dns", name="evil.example", allow=False, reason="host_not_granted")
    bottle.says(call("Read", file_path="/workspace/a.py"))
    (bottle.paths.workspace(IDENTITY) / "a.py").write_text("12")
    assert sorted(told(watched)) == [
        ("file", "new a.py  2 B"), ("host", "GET pypi.org:443 /simple/"),
        ("refused", "evil.example  host_not_granted"), ("tool", "Read  /workspace/a.py"),
    ]  # fmt: skip
    assert told(watched) == []


def test_a_bottle_that_still_starts_is_watched_to_its_end(bottle: Bottle, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its record names the command that starts it, and then its keeper."""
    store, command = Store(bottle.paths), subprocess.Popen(["sleep", "1000"])
    starts = ProcessId(command.pid, start_time_of(command.pid) or 0, boot_id())
    store.update(IDENTITY, status="starting", keeper=starts)
    steps = [
        lambda: (store.update(IDENTITY, status="running", keeper=this_process()), command.kill(), command.wait()),
        lambda: bottle.journal.append("launched"),
        lambda: store.update(IDENTITY, status="preserved", keeper=None),
    ]
    monkeypatch.setattr(watching, "time", SimpleNamespace(sleep=lambda _seconds: steps.pop(0)()))
    try:
        assert [one.text for one in watch(IDENTITY, bottle.paths)] == ["launched"]
        assert not steps
    finally:
        command.kill()
        command.wait()


def test_of_what_begins_while_one_watches_nothing_is_left_out_however_late_it_is_looked_for(bottle: Bottle) -> None:
    watched = Watch(IDENTITY, bottle.paths)
    assert told(watched) == []
    bottle.says(call("Bash", command="first"), b'"' + b"x" * 200_000 + b'"', call("Bash", command="second"))
    seen = [one for _ in range(4) for one in told(watched)]
    assert seen == [("command", "first"), ("command", "second")]


def test_a_line_is_told_once_it_is_whole(bottle: Bottle) -> None:
    whole = call("Bash", command="true")
    bottle.says(b"{}")
    watched = Watch(IDENTITY, bottle.paths)
    assert told(watched) == []
    with open(bottle.conversation, "ab") as file:
        file.write(whole[:20])
    assert told(watched) == []
    with open(bottle.conversation, "ab") as file:
        file.write(whole[20:] + b"\n")
    assert told(watched) == [("command", "true")]


def test_a_conversation_put_in_place_anew_goes_on(bottle: Bottle) -> None:
    bottle.says(call("Bash", command="one"))
    watched = Watch(IDENTITY, bottle.paths)
    assert told(watched) == [("command", "one")]
    anew = bottle.conversation.with_suffix(".new")
    anew.write_bytes(bottle.conversation.read_bytes() + call("Bash", command="two") + b"\n")
    anew.rename(bottle.conversation)
    assert [one for _ in range(5) for one in told(watched)] == [("command", "two")]


def test_hostile_text_is_told_as_text(bottle: Bottle) -> None:
    bottle.says(call("Bash", command="echo \x1b]52;c;eA==\x07\n\u202eevil" + "x" * 5000))
    (text,) = [text for _, text in told(Watch(IDENTITY, bottle.paths))]
    assert "\x1b" not in text and "\u202e" not in text and "\n" not in text and len(text) <= 300


@pytest.mark.parametrize(
    "line",
    [b"", b"\xff", b"[]", b"{}", b'{"type":"assistant"}', b'{"type":"assistant","message":5}',
     b'{"type":"assistant","message":{"content":[{"type":"tool_use"}]}}', b"[" * 100_000],
)  # fmt: skip
def test_any_bytes_of_a_conversation_are_no_reason_to_fail(line: bytes) -> None:
    assert all(one.what in ("tool", "command") for one in calls(line))


def test_a_conversation_that_is_a_link_is_not_read(bottle: Bottle, tmp_path: Path) -> None:
    (tmp_path / "secret.jsonl").write_bytes(call("Bash", command="secret") + b"\n")
    bottle.conversation.symlink_to(tmp_path / "secret.jsonl")
    assert told(Watch(IDENTITY, bottle.paths)) == []


def test_watching_ends_with_the_bottle(bottle: Bottle) -> None:
    bottle.says(call("Bash", command="true"))
    Store(bottle.paths).update(IDENTITY, keeper=None)
    assert [one.text for one in watch(IDENTITY, bottle.paths)] == ["true"]


def test_a_bottle_that_is_not_known_cannot_be_watched(bottle: Bottle) -> None:
    with pytest.raises(BottleError, match="no bottle called"):
        next(watch("nobody-abcdef", bottle.paths))
