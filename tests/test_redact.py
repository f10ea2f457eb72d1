"""The sanitiser and the redactor."""

from __future__ import annotations

import base64
import json
import pickle
import re
import unicodedata
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from claude_bottle.redact import REDACTED, Redactor, columns, printable

HOSTILE = st.lists(
    st.sampled_from(
        ["\x1b", "[", "]", "31m", "52;c;", "QUJD", "\x07", "\x1b\\", "\x9c", "\x9b", "\x9d", "\x90", "P", "_", "^", "X", "\r",
         "\n", "\r\n", "\t", "\b", "\x7f", "\0", "\u202e", "\u2066", "\u200b", "\u200d", "\ufeff", "\u2028", "\u2029",
         "\u00ad", "\u061c", "\u180e", "\u3164", "\U000e0041", "\U000e0100", "\ufe0f", "\ud800", "\uffff", "\ue000",
         "\xa0", "\u3000",
         "\u0301", "\u0301" * 9, "表", "é", "a", " ", "\\", "…", "👩", "\u2800"]
    ),
    max_size=20,
).map("".join)  # fmt: skip
TEXTS = st.text() | HOSTILE


@given(TEXTS, st.booleans(), st.none() | st.integers(0, 40))
def test_what_is_printable_stays_as_it_is(text: str, keep: bool, width: int | None) -> None:
    once = printable(text, width=width, keep_newlines=keep)
    assert printable(once, width=width, keep_newlines=keep) == once


@given(TEXTS, st.booleans(), st.integers(0, 60))
def test_nothing_printable_acts_on_a_terminal_or_hides(text: str, keep: bool, cut: int) -> None:
    for shown in (printable(text, keep_newlines=keep), printable(text, keep_newlines=keep)[:cut], printable(text[:cut])):
        for char in shown.replace("\n", "").replace("\t", "") if keep else shown:
            assert unicodedata.category(char) not in ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"), hex(ord(char))
            assert unicodedata.category(char) != "Zs" or char == " "
        shown.encode("utf-8")


@given(TEXTS, st.booleans(), st.integers(0, 40))
def test_the_width_bounds_every_line(text: str, keep: bool, width: int) -> None:
    assert all(columns(line) <= width for line in printable(text, width=width, keep_newlines=keep).split("\n"))


@pytest.mark.parametrize(
    ("text", "shown"),
    [("plain text", "plain text"), ("naïve 表 →", "naïve 表 →"), ("\x1b[31mred\x1b[0m", "\\x1b[31mred\\x1b[0m"),
     ("a\rb", "a\\rb"), ("a\nb", "a\\nb"), ("a\tb", "a\\tb"), ("\b\b", "\\x08\\x08"), ("\u202eevil", "\\u202eevil"),
     ("a\u200bb", "a\\u200bb"), ("x\U000e0041", "x\\U000e0041"), ("\ud800", "\\ud800"), ("a\xa0b\u3000c", "a b c"),
     ("\x9b2J", "\\x9b2J"), ("✔\ufe0f", "✔\ufe0f")],
)  # fmt: skip
def test_case_70_controls_are_shown_as_visible_escapes(text: str, shown: str) -> None:
    assert printable(text) == shown


@pytest.mark.parametrize("start", ["\x1b]", "\x1bP", "\x1b_", "\x1b^", "\x1bX", "\x9d", "\x90", "\x98", "\x9e", "\x9f"])
@pytest.mark.parametrize("end", ["\x07", "\x1b\\", "\x9c"])
def test_case_107_a_control_string_is_taken_whole_and_the_rest_stays_readable(start: str, end: str) -> None:
    shown = printable(f"before{start}52;c;{'QUJD' * 50}{end}after")
    assert shown.startswith("before\\x") and shown.endswith("…after")
    assert "QUJD" not in shown and len(shown) < 30


@pytest.mark.parametrize("start", ["\x1b]", "\x1bP", "\x9d"])
def test_case_72_an_unterminated_control_string_hides_nothing(start: str) -> None:
    assert printable(f"{start}0;hidden tail").endswith("hidden tail")
    assert "second line" in printable(f"{start}0;x\nsecond line\x07", keep_newlines=True)


@pytest.mark.parametrize("char", "\u034f\u115f\u17b4\u180b\u2800\u3164\ufe00\uffa0\U000e0100\U000e01ef")
def test_case_71_letters_and_marks_that_show_nothing_are_shown(char: str) -> None:
    assert printable(f"a{char}b").isascii()


def test_lines_stay_lines_only_when_asked() -> None:
    assert printable("a\r\nb\n\tc\rd", keep_newlines=True) == "a\nb\n\tc\\rd"
    assert printable("a\nb\n", width=5, keep_newlines=True) == "a\nb\n"


def test_a_cut_line_says_so() -> None:
    assert printable("abcdef", width=4) == "abc…"
    assert printable("abcd", width=4) == "abcd"
    assert printable("表表表", width=4) == "表…"
    assert printable("abc", width=0) == ""


def test_piled_marks_are_limited() -> None:
    shown = printable("e" + "\u0301" * 100)
    assert max(len(run) for run in shown.split("\\u0301")) <= 5


def test_a_megabyte_of_introducers_is_no_burden() -> None:
    for text in ("\x1b]" * 500_000, "\x9d" * 1_000_000, "\x90a" * 500_000):
        assert "\x1b" not in printable(text, keep_newlines=True)


SECRET = 'sk-ant-api03-a/b+c"d e_f%'
SECRETS = st.text(st.characters(codec="utf-8", categories=["L", "N", "P", "S"]), min_size=8, max_size=40)


def spellings(secret: str) -> list[str]:
    raw = secret.encode()
    out = [secret, quote(secret, safe=""), quote(secret), quote_plus(secret)]
    out.append(re.sub("%..", lambda escape: escape[0].lower(), quote(secret, safe="")))
    out += ["".join(f"%{byte:02x}" for byte in raw), json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1]]
    out += [raw.hex(), raw.hex().upper(), json.dumps(secret)[1:-1].replace("/", "\\/")]
    return out


@given(SECRETS)
@example("0000000\\")
@example("%25%25%25%25")
def test_case_65_a_secret_is_redacted_in_each_spelling(secret: str) -> None:
    redactor = Redactor([secret])
    for spelling in spellings(secret):
        assert redactor.text(f"before {spelling} after") == f"before {REDACTED} after", spelling


@given(SECRETS, st.binary(max_size=5), st.binary(max_size=5))
def test_case_65_a_secret_is_redacted_in_base64_at_each_offset(secret: str, before: bytes, after: bytes) -> None:
    raw = before + secret.encode() + after
    for text in (base64.b64encode(raw).decode(), base64.urlsafe_b64encode(raw).decode()):
        shown = Redactor([secret]).text(text)
        assert REDACTED in shown
        # What is left besides the neighbours is at most a few bits of the secret's ends.
        assert len(shown) - len(REDACTED) <= len(base64.b64encode(before)) + len(base64.b64encode(after)) + 4


def test_lines_of_a_key_are_redacted_one_by_one() -> None:
    key = "-----BEGIN KEY-----\nMIIBVgIBADANBg\nkqhkiG9w0BAQEF\n-----END KEY-----\n"
    redactor = Redactor([key])
    assert redactor.text(f"x {key} y") == f"x {REDACTED} y"
    assert redactor.text("line kqhkiG9w0BAQEF") == f"line {REDACTED}"
    assert redactor.text(key.strip()) == REDACTED


def test_the_longest_of_overlapping_secrets_goes_whole() -> None:
    assert Redactor(["abcdefgh", "abcdefghijkl"]).text("abcdefghijkl") == REDACTED


def test_no_secret_or_an_empty_one_changes_nothing() -> None:
    for redactor in (Redactor([]), Redactor(["", "  ", "\n"])):
        assert redactor.text("a b\nc") == "a b\nc"


def test_a_redactor_does_not_show_its_secrets() -> None:
    redactor = Redactor([SECRET])
    assert repr(redactor) == "Redactor([secret])" and not hasattr(redactor, "__dict__")
    with pytest.raises(TypeError):
        pickle.dumps(redactor)
