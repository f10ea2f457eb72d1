from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claude_bottle.keeper import frames
from claude_bottle.keeper.frames import Decoder, ProtocolError, decode_json, encode

FRAMES = st.lists(st.tuples(st.sampled_from([b"J", b"0", b"1", b"2"]), st.binary(max_size=50)), max_size=8)


@given(FRAMES, st.integers(1, 20))
def test_frames_survive_any_cut(sent: list[tuple[bytes, bytes]], size: int) -> None:
    stream = b"".join(encode(*frame) for frame in sent)
    decoder, received = Decoder(), []
    for at in range(0, len(stream), size):
        received += decoder.feed(stream[at : at + size])
    assert received == sent


def test_a_frame_that_claims_too_much_is_refused_before_it_arrives() -> None:
    with pytest.raises(ProtocolError):
        Decoder().feed(b"0" + (frames.FRAME_LIMIT + 1).to_bytes(4, "big"))


def test_an_unknown_kind_is_refused() -> None:
    with pytest.raises(ProtocolError):
        Decoder().feed(b"X\0\0\0\0")


@pytest.mark.parametrize("payload", [b"", b"[]", b"1", b"{", b"\xff", b"[" * 100_000])
def test_a_message_that_is_no_json_object_is_refused(payload: bytes) -> None:
    with pytest.raises(ProtocolError):
        decode_json(payload)


def test_missing_says_how_much_the_frame_still_needs() -> None:
    decoder = Decoder()
    assert decoder.missing == 5
    decoder.feed(b"J\0\0")
    assert decoder.missing == 2
    decoder.feed(b"\0\4{")
    assert decoder.missing == 3
