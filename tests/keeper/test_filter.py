from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from claude_bottle.keeper.filter import CSI_LIMIT, OSC_KEPT, STRING_LIMIT, TerminalFilter

# Everything output may consist of, written independently of the filter: text, a few controls, whole sequences.
HARMLESS = re.compile(
    r"(?:[\x07-\x0f\x20-\x7e]|[^\x00-\x9f]"
    r"|\x1b[78DEHM=>c]|\x1b[()*+][0AB12]|\x1b#[34568]"
    r"|\x1b\[[0-9;:]*[@ABCDEFGHIJKLMPSTXZ`abdefgrm]|\x1b\[[su]|\x1b\[[0-6]? q|\x1b\[!p"
    r"|\x1b\[4[hl]|\x1b\[\?(?:1|5|6|7|9|25|47|66|1000|1002|1003|1004|1006|1015|1016|1047|1048|1049|2004|2026)"
    r"(?:;(?:1|5|6|7|9|25|47|66|1000|1002|1003|1004|1006|1015|1016|1047|1048|1049|2004|2026))*[hl]"
    r"|\x1b\]8;[A-Za-z0-9=:._-]*;(?:(?:https?://|mailto:)[\x21-\x7e]+)?\x1b\\)*"
)


def passed(data: bytes) -> bytes:
    return TerminalFilter().feed(data)


PIECES = st.sampled_from(
    [
        b"\x1b", b"\x1b[", b"\x1b]", b"\x1bP", b"\x1b_", b"\x1b^", b"\x1bX", b"\x1b\\", b"\x07", b"\x9b", b"\x9d", b"\x90",
        b"\x9c", b"\xc2", b"\xc2\x9b", b"\xc2\x9d", b"\xc2\x9c", b"\xe2\x9c\x93", b"\xf0\x9f\x8d\xbe", b"52;c;",
        b"?", b"8;;http://a", b"8;id=1;https://x.test/y", b"c", b"n", b"6n", b"21t", b"?1049h", b"?1000;1006h", b"1;31m",
        b"u", b">4;2m", b"q", b"text", b"\r\n", b"\x18", b"\x1a", b"\x05", b"\x7f", b" ", b"$", b"#", b"(", b"B", b"0", b";",
        b"?25l", b"\x00",
    ]
)  # fmt: skip
STREAMS = st.lists(st.one_of(PIECES, st.binary(max_size=6)), max_size=40).map(b"".join)


@settings(max_examples=400, deadline=None)
@given(STREAMS, st.lists(st.integers(1, 5), max_size=300))
def test_however_the_input_is_cut_the_output_is_the_same(data: bytes, cuts: list[int]) -> None:
    one, pieces, at = TerminalFilter(), TerminalFilter(), 0
    out = b""
    for cut in [*cuts, len(data)]:
        out += pieces.feed(data[at : at + cut])
        at += cut
    assert out == one.feed(data)


@settings(max_examples=400, deadline=None)
@given(STREAMS)
def test_nothing_comes_out_that_is_not_recognised(data: bytes) -> None:
    assert HARMLESS.fullmatch(passed(data).decode("utf-8", "strict")), data


@settings(max_examples=200, deadline=None)
@given(STREAMS)
def test_what_came_out_passes_again_unchanged(data: bytes) -> None:
    once = passed(data)
    assert passed(once) == once


@settings(max_examples=200, deadline=None)
@given(STREAMS, STREAMS)
def test_no_clipboard_sequence_survives(before: bytes, after: bytes) -> None:
    out = passed(before + b"\x1b]52;c;aGVsbG8=\x07" + after)
    assert b"]52" not in out.replace(b"\x1b[", b"") or b"\x1b]52" not in out
    assert b"\x1b]5" not in out


@pytest.mark.parametrize(
    "query",
    [
        b"\x1b]52;c;?\x07", b"\x1b]52;c;QUJD\x1b\\", b"\x9d52;c;QUJD\x9c", b"\xc2\x9d52;c;QUJD\xc2\x9c",  # clipboard
        b"\x1b]0;title\x07", b"\x1b]2;title\x1b\\", b"\x1b[21t", b"\x1b[20t", b"\x1b[22;0t", b"\x1b[18t", b"\x1b[8;9;9t",
        b"\x1b[c", b"\x1b[0c", b"\x1b[>c", b"\x1b[=c", b"\x1bZ", b"\x05",  # who are you
        b"\x1b[5n", b"\x1b[6n", b"\x1b[?6n", b"\x1b[?15n", b"\x1b[x", b"\x1b[>q", b"\x1b[>0q",  # how are you
        b"\x1bP$qm\x1b\\", b"\x1bP+q544e\x1b\\", b"\x90$qm\x9c", b"\x1b[?2026$p", b"\x1b[4$p", b"\x1b[1;1;1;1;1;1*y",
        b"\x1b]10;?\x07", b"\x1b]11;?\x1b\\", b"\x1b]4;1;?\x07", b"\x1b[?u", b"\x1b[?4m",  # colours, keyboards
        b"\x1b[>1u", b"\x1b[=5;1u", b"\x1b[<u", b"\x1b[>4;2m", b"\x1b[?9001h", b"\x1b[?2048h", b"\x1b[?2031h",
        b"\x1bPq#0;2;0;0;0#0~~\x1b\\", b"\x1b_Ga=T,f=100;AAAA\x1b\\", b"\x1b]1337;File=inline=1:AAAA\x07",  # images, files
        b"\x1b]9;message\x07", b"\x1b]777;notify;a;b\x07", b"\x1b^private\x1b\\", b"\x1bXstring\x1b\\",
        b"\x1b[5i", b"\x1b[4i", b"\x1b%@", b"\x1b%G", b"\x1b F", b"\x1b[?5i", b"\x1bPtmux;\x1b\x1b]52;c;QQ==\x07\x1b\\",
        b"\x1b]8;;file:///etc/passwd\x07", b"\x1b]8;;javascript:alert(1)\x07", b"\x1b[2147483647b", b"\x13", b"\x00",
    ],
)  # fmt: skip
def test_sequences_that_make_a_terminal_answer_or_act_are_removed_whole(query: bytes) -> None:
    assert passed(b"before" + query + b"after") in (b"beforeafter", b"before\x1b\\after")


@pytest.mark.parametrize(
    "text",
    [
        b"plain text\r\n\ttabs\x08 \x07", "naïve ✓ 全角 🍾".encode(), b"\x1b[1;38;2;1;2;3;48:5:7mcolour\x1b[m",
        b"\x1b[2J\x1b[H\x1b[10;20H\x1b[K",
        b"\x1b[?1049h\x1b[?25l\x1b[?1000h\x1b[?1002;1006h\x1b[?2004h\x1b[?2026h", b"\x1b7\x1b8\x1b=\x1b>\x1bM\x1bD\x1bE\x1bc",
        b"\x1b(0lqk\x1b(B\x0e\x0f", b"\x1b[3;20r\x1b[2S\x1b[2T\x1b[4h\x1b[4l\x1b[s\x1b[u", b"\x1b[2 q\x1b[!p\x1b#8",
        b"\x1b[?1004h",
        b"\x1b]8;id=a;https://example.test/x?y=1\x1b\\link\x1b]8;;\x1b\\",
    ],
)  # fmt: skip
def test_what_programs_draw_with_passes_unchanged(text: bytes) -> None:
    assert passed(text) == text


def test_a_link_may_end_with_a_bell() -> None:
    assert passed(b"\x1b]8;;https://a.test/\x07x") == b"\x1b]8;;https://a.test/\x1b\\x"


def test_eight_bit_controls_become_what_they_stand_for() -> None:
    assert passed(b"\x9b31mred") == b"\x1b[31mred"
    assert passed(b"\xc2\x9b31mred\xc2\x85") == b"\x1b[31mred\x1bE"


def test_unknown_modes_are_taken_out_of_a_list() -> None:
    assert passed(b"\x1b[?1000;2031;1006h") == b"\x1b[?1000;1006h"


def test_a_control_inside_a_sequence_acts_before_it() -> None:
    assert passed(b"\x1b[3\r1mx") == b"\r\x1b[31mx"


def test_an_escape_breaks_a_string_off() -> None:
    assert passed(b"\x1b]0;title\x1b[31mred") == b"\x1b[31mred"


def test_bytes_of_a_character_do_not_end_a_string() -> None:
    assert passed("\x1b]0;✓ done\x07after".encode()) == b"after"
    assert passed("\x1bP✜✓\x1b\\after".encode()) == b"after"


def test_invalid_bytes_become_replacement_characters() -> None:
    assert passed(b"a\xffb\xc3\x28c\xe2\x9c!").decode() == "a\ufffdb\ufffd(c\ufffd!"


def test_an_unterminated_string_does_not_blank_the_session_for_good() -> None:
    out = passed(b"\x1b]0;" + b"x" * (STRING_LIMIT + 10) + b"\r\nvisible")
    assert out.endswith(b"\r\nvisible")
    assert len(out) < 100


def test_what_is_held_back_is_bounded() -> None:
    one = TerminalFilter()
    for _ in range(64):
        one.feed(b"\x1b]8;;https://a.test/" + b"x" * 10_000)
        assert len(one._held) <= OSC_KEPT + 1
    one = TerminalFilter()
    one.feed(b"\x1b[" + b"1;" * 100_000)
    assert len(one._held) <= CSI_LIMIT + 1
