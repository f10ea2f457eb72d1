"""Lines of text, wrapped and aligned."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from claude_bottle.dashboard.lines import WIDTH, cells, line, wrapped
from claude_bottle.redact import columns, printable


@given(st.text(max_size=400), st.integers(12, 90))
def test_wrapping_keeps_to_the_width_and_leaves_nothing_out(text: str, width: int) -> None:
    made = wrapped(text, width, first="a │ ", rest="  │ ")
    assert all(columns(part) <= width or len(part) <= 5 for part in made)
    said = "".join(part[4:] for part in made).replace(" ", "")
    assert said == printable(text, keep_newlines=True).replace("\n", "").replace("\t", "").replace(" ", "")


@given(st.text(max_size=200))
def test_a_line_is_one_line_whatever_is_in_it(text: str) -> None:
    shown = line(text, width=WIDTH).text
    assert "\n" not in shown and "\x1b" not in shown and columns(shown) <= WIDTH


def test_a_word_longer_than_a_line_is_broken_and_not_cut() -> None:
    assert "".join(wrapped("x" * 200, 76)) == "x" * 200


def test_wide_characters_are_counted_as_they_are_shown() -> None:
    assert all(columns(part) <= 10 for part in wrapped("漢字" * 20, 10))


def test_columns_stand_under_each_other() -> None:
    assert [text.index("b") for text in (cells([("x", 6), ("b", 5)]), cells([("漢", 6), ("b", 5)]))] == [7, 6]
