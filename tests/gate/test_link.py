"""One connection's bytes on real sockets: what waits is bounded, what was said last is still heard."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator

import pytest

from claude_bottle.gate import limits
from claude_bottle.gate.link import Link
from claude_bottle.gate.loop import Loop
from claude_bottle.gate.tls import READ_SIZE
from tests.waiting import readable


class Owner:
    """Keeps what it is told; `reply` is sent back for every byte received."""

    def __init__(self, reply: bytes = b"") -> None:
        self.reply, self.received, self.told = reply, bytearray(), [""]

    def link_received(self, link: Link, data: memoryview) -> None:
        self.received += data
        if self.reply:
            link.write(self.reply * len(data))

    def link_ended(self, link: Link) -> None:
        self.told.append("ended")

    def link_lost(self, link: Link) -> None:
        self.told.append("lost")

    def link_clogged(self, link: Link, clogged: bool) -> None:
        self.told.append("clogged" if clogged else "drained")


@pytest.fixture
def pair() -> Iterator[tuple[Loop, socket.socket, socket.socket]]:
    loop = Loop()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        theirs = socket.create_connection(listener.getsockname())
        ours, _ = listener.accept()
    ours.setblocking(False)
    theirs.setblocking(False)
    yield loop, ours, theirs
    for sock in (ours, theirs):
        sock.close()
    loop.close()


def test_a_peer_that_sends_and_never_reads_is_not_read_for_ever(pair: tuple[Loop, socket.socket, socket.socket]) -> None:
    loop, ours, theirs = pair  # threats 118: an answer to each byte, as TLS gives to each key update
    owner = Owner(b"!")
    link = Link(loop, ours, owner, 0)
    left = 200  # rounds from when more waits than should
    while left:
        with contextlib.suppress(BlockingIOError):
            theirs.send(bytes(READ_SIZE))
        loop.once(0)
        left -= "clogged" in owner.told
    assert link.waiting <= 3 * limits.HIGH_WATER
    received = len(owner.received)
    answered = 0
    while answered < received:
        with contextlib.suppress(BlockingIOError):
            answered += len(theirs.recv(READ_SIZE))
        loop.once(0)
        received = len(owner.received)  # read again as soon as there is room
    assert "lost" not in owner.told
    link.abort()


def test_what_a_peer_said_before_it_broke_off_is_still_heard(pair: tuple[Loop, socket.socket, socket.socket]) -> None:
    loop, ours, theirs = pair
    owner = Owner()
    link = Link(loop, ours, owner, 0)
    link.write(bytes(1000))
    theirs.send(b"413")
    assert readable(theirs.fileno())
    theirs.close()  # with bytes it has not read: a reset
    while "lost" not in owner.told:
        link.write(bytes(1000))
        loop.once(1)
    assert owner.received == b"413"
    assert "ended" not in owner.told
