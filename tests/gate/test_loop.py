"""The gate's event loop: who is told of an event, and who is not."""

from __future__ import annotations

import os
import socket

import pytest

from claude_bottle.gate import loop as loop_module
from claude_bottle.gate.loop import READ, Loop


def test_an_event_of_a_closed_socket_is_not_told_to_the_next_one_with_its_number() -> None:
    loop = Loop()
    ours, theirs = zip(*(socket.socketpair() for _ in range(2)), strict=True)
    quiet = socket.socketpair()
    told: list[str] = []

    def handle(this: int) -> None:
        """The first one told closes the other, which is ready in the same round; a quiet socket gets its number."""
        told.append("first")
        number = ours[1 - this].fileno()
        loop.forget(number)
        ours[1 - this].close()
        os.dup2(quiet[0].fileno(), number)
        loop.watch(number, READ, lambda events: told.append("newcomer"))
        loop.forget(ours[this].fileno())

    for index, sock in enumerate(ours):
        loop.watch(sock.fileno(), READ, lambda events, index=index: handle(index))  # type: ignore[misc]
        theirs[index].send(b"x")
    loop.once(0)
    assert told == ["first"]
    quiet[1].send(b"x")
    loop.once(0)
    assert told == ["first", "newcomer"]
    for sock in (*ours, *theirs, *quiet):
        sock.close()
    loop.close()


def test_calls_that_submit_themselves_again_leave_room_for_sockets() -> None:
    loop = Loop()
    ours, theirs = socket.socketpair()
    told: list[str] = []

    def busy() -> None:
        told.append("busy")
        if "socket" not in told and len(told) < 1000:
            loop.submit(busy)

    def ready(events: int) -> None:
        told.append("socket")
        loop.forget(ours.fileno())

    loop.watch(ours.fileno(), READ, ready)
    loop.submit(busy)
    theirs.send(b"x")
    while "socket" not in told:
        loop.once(0)
    assert len(told) < 10
    for sock in (ours, theirs):
        sock.close()
    loop.close()


@pytest.mark.parametrize("by", ["sockets", "submitted"])
def test_what_is_preferred_waits_for_no_more_than_what_is_being_done(monkeypatch: pytest.MonkeyPatch, by: str) -> None:
    monkeypatch.setattr(loop_module, "_SOON", -1.0)
    loop = Loop()
    preferred, keeper = socket.socketpair()
    others = [socket.socketpair() for _ in range(5)]
    told: list[str] = []

    def work(events: int = 0) -> None:
        if "other" not in told:
            keeper.send(b"x")
        told.append("other")

    def obey(events: int) -> None:
        told.append("preferred")
        preferred.recv(1)

    loop.watch(preferred.fileno(), READ, obey)
    loop.prefer(preferred.fileno())
    for ours, theirs in others:
        if by == "submitted":
            loop.submit(work)
        else:
            loop.watch(ours.fileno(), READ, work)
            theirs.send(b"x")
    loop.once(0)
    assert told == ["other", "preferred", *["other"] * 4]
    for sock in (preferred, keeper, *(sock for pair in others for sock in pair)):
        sock.close()
    loop.close()


def test_what_is_submitted_to_a_loop_that_is_closed_is_written_to_nobody() -> None:
    """By a thread that looked a name up and took its time; the number of the loop's descriptor is another's by then."""
    loop = Loop()
    loop.close()
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    loop.submit(lambda: None)
    with pytest.raises(BlockingIOError):
        os.read(reading, 8)
    for end in (reading, writing):
        os.close(end)
