from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claude_bottle.keeper.detach_key import DetachKey

KEYS = [b"\x1d", b"\x1b[93;5u", b"\x1b[93;69u", b"\x1b[93;5:1u", b"\x1b[93::93;5u", b"\x1b[27;5;93~", b"\x1b[93;133u"]


@pytest.mark.parametrize("key", KEYS)
def test_the_key_is_recognised_in_every_keyboard_protocol(key: bytes) -> None:
    assert DetachKey().feed(b"typed" + key + b"rest") == (b"typed", True)


@pytest.mark.parametrize("other", [b"\x1b[93;5:3u", b"\x1b[93;6u", b"\x1b[193;5u", b"\x1b[27;5;92~", b"]", b"\x1b]"])
def test_other_keys_belong_to_the_agent(other: bytes) -> None:
    assert DetachKey().feed(other) == (other, False)


@given(st.sampled_from(KEYS), st.binary(max_size=20).filter(lambda b: b"\x1d" not in b and b"\x1b" not in b), st.data())
def test_the_key_is_recognised_however_it_is_cut(key: bytes, before: bytes, data: st.DataObject) -> None:
    stream, keys = before + key, DetachKey()
    at, seen = 0, False
    while at < len(stream) and not seen:
        size = data.draw(st.integers(1, 5))
        _, seen = keys.feed(stream[at : at + size])
        at += size
    assert seen


@given(st.lists(st.binary(min_size=1, max_size=9).filter(lambda b: b"\x1d" not in b), max_size=20))
def test_everything_else_reaches_the_agent(pieces: list[bytes]) -> None:
    keys, out = DetachKey(), b""
    for piece in pieces:
        mine, left = keys.feed(piece)
        out += mine
        if left:
            return
    assert out == b"".join(pieces)


def test_a_paste_does_not_end_the_session() -> None:
    keys = DetachKey()
    paste = b"\x1b[200~echo \x1d rm -rf /\n\x1b[201~"
    assert keys.feed(paste) == (paste, False)
    assert keys.feed(b"\x1d") == (b"", True)


def test_a_key_counts_once() -> None:
    keys = DetachKey()
    assert keys.feed(b"a\x1b[93;5u")[1]
