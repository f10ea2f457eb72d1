from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claude_bottle.state.damage import Damaged
from claude_bottle.state.journal import Journal
from claude_bottle.state.journal_read import LINE_LIMIT, Reader, decode_line, read, verify
from claude_bottle.state.paths import Paths


@pytest.fixture
def path(bottle: str, paths: Paths) -> Path:
    """A journal of five events."""
    journal = Journal.open(paths, bottle)
    for number in range(5):
        journal.append("decision", number=number)
    journal.close()
    return paths.journal(bottle)


def rewrite(path: Path, *lines: bytes) -> None:
    path.write_bytes(b"".join(lines))


def test_an_untouched_chain_is_whole(path: Path) -> None:
    assert verify(path) == []


def test_an_edit_shows(path: Path) -> None:
    lines = path.read_bytes().splitlines(keepends=True)
    rewrite(path, lines[0], lines[1].replace(b'"number":1', b'"number":7'), *lines[2:])
    assert [problem for problem in verify(path) if problem.startswith("line 3")]


@pytest.mark.parametrize("dropped", [0, 1, 3])
def test_a_dropped_line_shows(path: Path, dropped: int) -> None:
    lines = path.read_bytes().splitlines(keepends=True)
    rewrite(path, *lines[:dropped], *lines[dropped + 1 :])
    assert verify(path)


def test_swapped_lines_show(path: Path) -> None:
    lines = path.read_bytes().splitlines(keepends=True)
    rewrite(path, lines[0], lines[2], lines[1], *lines[3:])
    assert verify(path)


def test_a_repeated_line_shows(path: Path) -> None:
    lines = path.read_bytes().splitlines(keepends=True)
    rewrite(path, *lines[:3], lines[2], *lines[3:])
    assert verify(path)


def test_renumbering_does_not_hide_a_drop(path: Path) -> None:
    lines = path.read_bytes().splitlines(keepends=True)
    renumbered = [line.replace(b'"seq":%d' % (n + 2), b'"seq":%d' % (n + 1)) for n, line in enumerate(lines[1:])]
    rewrite(path, *renumbered)
    assert verify(path)


def test_a_gap_in_the_numbers_shows_even_in_a_whole_chain(path: Path) -> None:
    first, second = (json.loads(line) for line in path.read_bytes().splitlines()[:2])
    head = json.dumps(first).encode() + b"\n"
    second.update(seq=9, prev=sha256(head).hexdigest())
    rewrite(path, head, json.dumps(second).encode() + b"\n")
    assert verify(path) == ["line 2: number 9 where 2 should stand"]


def test_a_cut_off_end_shows_against_the_recorded_head(bottle: str, paths: Paths, path: Path) -> None:
    journal = Journal.open(paths, bottle)
    head = journal.head
    journal.close()
    assert verify(path, head) == []
    rewrite(path, *path.read_bytes().splitlines(keepends=True)[:-1])
    assert verify(path) == []
    assert verify(path, head)


@pytest.mark.parametrize(
    "line",
    [
        b"\n", b"\0\0\0\n", b"[]\n", b"{}\n", b"x" * (3 * LINE_LIMIT) + b"\n", b"[" * 60_000 + b"\n", b"\xff\xfe\n",
        b'{"seq":"1","wall":"","mono":0,"prev":"","kind":"","data":{}}\n',
        b'{"seq":true,"wall":"","mono":0,"prev":"","kind":"","data":{}}\n',
        b'{"seq":1' + b"0" * 10_000 + b',"wall":"","mono":0,"prev":"","kind":"","data":{}}\n',
    ],
    ids=lambda line: repr(line[:20]),
)  # fmt: skip
def test_a_line_that_is_no_event_is_passed_on_as_such_and_reading_goes_on(path: Path, line: bytes) -> None:
    lines = path.read_bytes().splitlines(keepends=True)
    rewrite(path, lines[0], line, *lines[1:])
    found = list(read(path))
    assert [one.event is None for one in found] == [False, True, False, False, False, False]
    assert found[1].problem
    assert any(problem.startswith("line 2") for problem in verify(path))


def test_an_unfinished_last_line_is_a_problem(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b'{"seq":6')
    assert verify(path) == ["line 6: the last line is unfinished"]


def test_one_that_is_just_being_written_is_not_a_problem_of_a_journal_that_grows(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b'{"seq":6')
    assert verify(path, growing=True) == []
    assert len(list(read(path, growing=True))) == 5


def test_a_follower_sees_each_event_once_and_only_when_it_is_whole(bottle: str, paths: Paths, path: Path) -> None:
    with Reader(path) as reader:
        assert len(list(reader.lines())) == 5
        assert list(reader.lines()) == []
        with path.open("ab") as file:
            file.write(b'{"seq":6')
        assert list(reader.lines()) == []
        rewrite(path, *path.read_bytes().splitlines(keepends=True)[:5])
        journal = Journal.open(paths, bottle)
        journal.append("settled")
        journal.close()
        assert [line.event and line.event["kind"] for line in reader.lines()] == ["settled"]


def test_a_link_is_not_read(path: Path) -> None:
    path.rename(path.with_name("real"))
    path.symlink_to("real")
    with pytest.raises(Damaged):
        list(read(path))


def test_a_missing_journal_is_told(paths: Paths, bottle: str) -> None:
    with pytest.raises(FileNotFoundError):
        list(read(paths.journal(bottle)))


@given(st.binary(max_size=300))
def test_any_bytes_are_an_event_or_a_problem(raw: bytes) -> None:
    line = decode_line(raw)
    assert (line.event is None) == bool(line.problem)


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    )
)
def test_any_json_is_an_event_or_a_problem(value: object) -> None:
    assert decode_line(json.dumps(value).encode()).event is None
