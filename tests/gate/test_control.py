"""The line between gate and keeper: any bytes are messages or the end, never anything else."""

from __future__ import annotations

import json
import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claude_bottle.gate import loop as loop_module
from claude_bottle.gate.control import MAX_LINE, ControlBroken, Decoder, encode
from claude_bottle.gate.control_line import ControlLine
from claude_bottle.gate.loop import READ, Loop
from claude_bottle.testing.playbook import split

_DATA = st.dictionaries(st.text(max_size=8).filter(lambda key: key != "op"), st.text(max_size=30) | st.integers() | st.none())


@given(st.lists(st.tuples(st.text(max_size=10), _DATA), max_size=5), st.lists(st.integers(1, 50)))
def test_messages_arrive_whole_in_any_segmentation(sent: list[tuple[str, dict[str, object]]], sizes: list[int]) -> None:
    decoder, arrived = Decoder(), []
    wire = b"".join(encode(op, **data) for op, data in sent)
    for piece in split(wire, sizes):
        arrived += decoder.feed(piece)
    assert arrived == [{"op": op, **data} for op, data in sent]


@given(st.lists(st.binary(max_size=200) | st.just(b"\n") | st.just(b'{"op":"x"}\n'), max_size=20))
def test_any_bytes_are_messages_or_the_end(pieces: list[bytes]) -> None:  # fuzz target: control protocol
    decoder = Decoder()
    try:
        for piece in pieces:
            for message in decoder.feed(piece):
                assert isinstance(message["op"], str)
    except ControlBroken:
        pass


@pytest.mark.parametrize(
    "line", [b"[" * 100_000, b'{"op":' * 100_000, b"1" * 10_000, b"{}", b'{"op":1}', b"[]", b"\xff", b'"\\ud800"', b""]
)
def test_what_is_no_message_is_the_end(line: bytes) -> None:
    with pytest.raises(ControlBroken):
        Decoder().feed(line + b"\n")


def test_a_line_that_never_ends_is_the_end() -> None:
    decoder = Decoder()
    for _ in range(MAX_LINE // 65536):
        assert decoder.feed(bytes(65536)) == []
    with pytest.raises(ControlBroken):
        decoder.feed(b"1")


def test_a_message_is_one_line_whatever_it_holds() -> None:
    assert encode("event", what="a\nb\u2028\x1b").count(b"\n") == 1
    assert json.loads(encode("x", what="a\nb"))["what"] == "a\nb"


def test_the_keeper_is_heard_in_the_midst_of_a_flood(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop_module, "_SOON", -1.0)
    loop, told = Loop(), list[object]()
    keeper, gate = socket.socketpair()
    flood = [socket.socketpair() for _ in range(5)]
    ControlLine(loop, gate, lambda message, _: told.append(message["op"]), lambda: None, lambda: None)

    def work(events: int) -> None:
        if not told:
            keeper.send(encode("stop"))
        told.append("worked")

    for ours, theirs in flood:
        loop.watch(ours.fileno(), READ, work)
        theirs.send(b"x")
    loop.once(0)
    assert told == ["worked", "stop", *["worked"] * 4]
    for sock in (keeper, gate, *(sock for pair in flood for sock in pair)):
        sock.close()
    loop.close()
