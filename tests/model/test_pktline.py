"""pkt-lines: what is none is refused, and text on its way to a terminal keeps its length and loses its teeth."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claude_bottle.model import pktline
from claude_bottle.model.pktline import BadPkt, Calmed, Reader
from claude_bottle.testing.playbook import split

PAYLOADS = st.lists(st.none() | st.binary(max_size=40), max_size=12)


def written(payloads: list[bytes | None]) -> bytes:
    return b"".join(pktline.FLUSH if one is None else pktline.line(one) for one in payloads)


@given(PAYLOADS, st.lists(st.integers(0, 20), max_size=10))
def test_lines_come_out_as_they_went_in_however_they_are_cut(payloads: list[bytes | None], sizes: list[int]) -> None:
    reader, found = Reader(), []
    for piece in split(written(payloads), sizes):
        reader.feed(piece)
        while (line := reader.next()) is not False:
            found.append(line)
    assert found == payloads
    assert not reader.rest


@pytest.mark.parametrize(
    "data", [b"000", b"0001", b"0002", b"0003", b"fff1", b"ffff", b"PACK", b"-001", b"0x10", b"000g", b"+004", b"0010ab"]
)
def test_case_85_what_is_no_pkt_line_is_refused(data: bytes) -> None:
    with pytest.raises(BadPkt):
        list(pktline.lines(data))


@given(st.binary(max_size=200))
def test_case_85_any_bytes_are_lines_or_refused_and_nothing_else_comes_of_them(data: bytes) -> None:
    try:
        found = list(pktline.lines(data))
    except BadPkt:
        return
    assert b"".join(pktline.FLUSH if one is None else pktline.line(one) for one in found).lower() == data.lower()


@given(st.binary(max_size=300), st.lists(st.integers(0, 30), max_size=12))
def test_case_91_calming_changes_no_length_and_does_not_depend_on_how_bytes_arrive(data: bytes, sizes: list[int]) -> None:
    whole = Calmed().feed(data)
    calmed = Calmed()
    pieces = b"".join(calmed.feed(piece) for piece in split(data, sizes))
    assert len(whole) == len(pieces) == len(data)


@given(st.binary(min_size=1, max_size=100), st.sampled_from((1, 2, 3)))
def test_case_91_only_text_is_calmed_and_nothing_in_it_acts_on_a_terminal(text: bytes, band: int) -> None:
    out = Calmed().feed(pktline.banded(band, text))
    if band == 1:
        assert out == pktline.banded(band, text)
    else:
        assert not {*range(32), 127} - {9, 10, 13} & set(out[5:])
        assert not any(0x80 <= ord(one) < 0xA0 for one in out[5:].decode("utf-8", "ignore"))


def test_case_91_an_answer_of_ours_is_printable_whatever_it_quotes() -> None:
    results = [("refs/heads/x", "bad\x1b[31m\nng refs/heads/y forged")]
    out = pktline.answer(results, "look\x1b]0;title\x07\nnext", bands=True, status=True)
    assert b"\x1b" not in out
    assert out.count(b"ng refs/heads/") == 2  # one of them inside the text of the other's line
    assert list(pktline.lines(out))[-1] is None
