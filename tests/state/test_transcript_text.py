from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claude_bottle.state import transcript_text
from claude_bottle.state.transcript_text import TEXT_LIMIT, Turn, render, turns_of

WHEN = "2025-01-31T12:00:00.000Z"


def line(role: str, content: object, **more: object) -> bytes:
    return json.dumps({"type": role, "timestamp": WHEN, "message": {"role": role, "content": content}, **more}).encode()


def turns(*lines: bytes) -> list[Turn]:
    return list(render(lines))


def test_what_was_said_and_done_reads_in_its_order() -> None:
    found = turns(
        line("user", "list the files"),
        line("assistant", [
            {"type": "thinking", "thinking": "hm"}, {"type": "text", "text": "I look."},
            {"type": "tool_use", "name": "Bash", "input": {"command": "ls", "description": "list"}},
        ]),
        line("user", [{"type": "tool_result", "content": [{"type": "text", "text": "a\nb"}, {"type": "image"}]}]),
        line("user", [{"type": "tool_result", "content": "plain"}]),
        line("assistant", [{"type": "text", "text": "Two files."}, {"type": "image", "source": {}}]),
    )  # fmt: skip
    assert found == [
        Turn("user", "list the files", "", WHEN),
        Turn("assistant", "I look.", "", WHEN),
        Turn("tool", '{"command": "ls", "description": "list"}', "Bash", WHEN),
        Turn("result", "a\nb\n[image]", "", WHEN),
        Turn("result", "plain", "", WHEN),
        Turn("assistant", "Two files.", "", WHEN),
        Turn("assistant", "[image]", "", WHEN),
    ]


def test_a_single_argument_is_shown_as_it_is() -> None:
    assert turns(line("assistant", [{"type": "tool_use", "name": "Read", "input": {"path": "/workspace/a"}}])) == [
        Turn("tool", "/workspace/a", "Read", WHEN)
    ]


@pytest.mark.parametrize("hostile", ["\x1b]52;c;aGk=\x07", "\x9b2J", "\u202e", "\r", "\x07"])
def test_no_string_reaches_the_terminal_raw(hostile: str) -> None:
    found = turns(
        line("user", hostile + "text", timestamp=hostile),
        line("assistant", [
            {"type": "tool_use", "name": hostile, "input": {hostile: hostile}},
            {"type": "tool_use", "name": "x", "input": {"one": hostile}},
        ]),
        line("user", [{"type": "tool_result", "content": [{"type": hostile}]}]),
    )  # fmt: skip
    assert len(found) == 4
    assert not any(hostile in part for turn in found for part in turn)


@pytest.mark.parametrize(
    "rubbish",
    [b"", b"\0\0", b"{", b"[]", b"7", b"null", b'{"type":"user"}', b'{"type":"user","message":7}', b"\xff", b"[" * 50_000,
     b'{"type":"summary","summary":"x"}', b'{"type":["user"],"message":{}}',
     line("user", None), line("user", 7), line("user", [None, 7, [], {"type": 7}, {"type": "text", "text": 7}]),
     line("user", "of the program", isMeta=True)],
)  # fmt: skip
def test_what_is_no_turn_is_passed_over(rubbish: bytes) -> None:
    assert turns(line("user", "before"), rubbish, line("user", "after")) == [
        Turn("user", "before", "", WHEN), Turn("user", "after", "", WHEN)
    ]  # fmt: skip


def test_long_text_is_bounded() -> None:
    found = turns(
        line("user", "x" * (TEXT_LIMIT + 10)),
        line("assistant", [{"type": "tool_use", "name": "n" * 999, "input": "y" * 9999}]),
    )
    assert [len(turn.text) for turn in found] == [TEXT_LIMIT + 1, 200]
    assert len(found[1].tool) == 80


def test_a_line_beyond_its_cap_is_passed_over_and_reading_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transcript_text, "LINE_LIMIT", 1000)
    path = tmp_path / "a.jsonl"
    path.write_bytes(line("user", "before") + b"\n" + line("user", "x" * 5000) + b"\n" + line("user", "after"))
    path.chmod(0o600)
    assert [turn.text for turn in turns_of(path)] == ["before", "after"]


def test_a_pipe_in_the_place_of_the_file_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.jsonl", 0o600)
    with pytest.raises(Exception, match="not a regular file"):
        list(turns_of(tmp_path / "a.jsonl"))


@given(st.lists(st.binary(max_size=200)))
def test_any_bytes_are_survived(lines: list[bytes]) -> None:
    turns(*lines)


JSON = st.recursive(st.none() | st.booleans() | st.floats() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(
    st.sampled_from(["type", "text", "content", "input", "name", "x"]), inner))  # fmt: skip


@given(JSON, JSON, JSON)
def test_any_shape_is_survived(content: object, when: object, message: object) -> None:
    for entry in ({"type": "user", "timestamp": when, "message": {"content": content}}, {"type": "user", "message": message}):
        for turn in turns(json.dumps(entry).encode()):
            assert all(isinstance(part, str) for part in turn)
