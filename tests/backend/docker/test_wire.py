"""Both ends of the wire, real: the first process's serving part as a child of the test, the keeper's with real pipes."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from claude_bottle.backend.docker import channel as channels
from claude_bottle.backend.docker.channel import Channel
from claude_bottle.backend.docker.framing import HEADER, MAX_FRAME, MESSAGE, WINDOW, Frames, frame
from claude_bottle.backend.docker.wire import Wire
from claude_bottle.errors import BottleError
from tests.waiting import SECONDS, eventually

ROOT = Path(__file__).parents[3]
RELAY = "from claude_bottle.backend.docker.streams import Relay; Relay().serve()"


class Line:
    """A wire with a first process at its other end."""

    def __init__(self, *by: str) -> None:
        ours, theirs = socket.socketpair()
        relay = [*by, sys.executable, "-c", RELAY]
        self.other = subprocess.Popen(relay, stdin=theirs.fileno(), stdout=theirs.fileno(), cwd=ROOT)
        theirs.close()
        self.wire = Wire(ours)
        self.wire.run()
        self.started: list[Channel] = []
        self.pidfds: list[int] = []

    def start(self, *argv: str, stdio: tuple[int, ...] | None = None, cwd: str = "/", **more: Any) -> Channel:
        null = os.open(os.devnull, os.O_RDWR)
        try:
            command = {"argv": list(argv), "env": {"PATH": os.environ["PATH"]}, "cwd": cwd, "tty": False, **more}
            self.started.append(self.wire.start(command, stdio or (null, null, null), SECONDS))
            with contextlib.suppress(ProcessLookupError):
                self.pidfds.append(os.pidfd_open(self.started[-1].born["pid"]))
            return self.started[-1]
        finally:
            os.close(null)

    def run(self, *argv: str, stdin: bytes = b"") -> tuple[int, bytes]:
        """(exit code, what it wrote) of a program."""
        (read0, write0), (read1, write1) = os.pipe(), os.pipe()
        found = self.start(*argv, stdio=(read0, write1, 2))
        for end in (read0, write1):
            os.close(end)
        feeding = threading.Thread(target=feed, args=(write0, stdin))
        feeding.start()
        with open(read1, "rb") as out:
            said = out.read()
        feeding.join()
        return ended(found), said

    def close(self) -> None:
        self.wire.close()
        self.other.wait(SECONDS)
        self.wire.let_go()
        for one in self.started:
            os.close(one.done)
        for pidfd in self.pidfds:  # what a container's kernel would have done
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(pidfd, signal.SIGKILL)
            os.close(pidfd)


def feed(end: int, data: bytes) -> None:
    with open(end, "wb") as pipe:
        pipe.write(data)


def ended(channel: Channel) -> int:
    assert select.select([channel.done], [], [], SECONDS)[0]
    assert channel.code is not None
    return channel.code


def test_what_is_said_before_a_key_is_pressed_arrives_before_it() -> None:
    """A window's size and what is typed come to the thread in different ways, here at the same time."""
    ours, theirs = socket.socketpair()
    keyboard, typed = socket.socketpair()
    with theirs, keyboard, typed:
        wire = Wire(ours)
        channel = Channel(1, wire._send, (typed.fileno(), typed.fileno()))
        wire._begin(channel, b"")
        wire.instruct(channel, op="resize", rows=33, cols=111)
        keyboard.send(b"stty size\n")
        frames, kinds = Frames(), list[int]()
        while len(kinds) < 2:
            wire._turn()
            kinds += [kind for kind, _, _ in frames.feed(theirs.recv(1 << 16))]
        assert kinds == [MESSAGE, 0]
        wire._discard(channel)
        wire.let_go()


@pytest.fixture
def line() -> Iterator[Line]:
    made = Line()
    yield made
    made.close()


@contextmanager
def stuck_reader() -> Iterator[int]:
    """The writing end of a pipe that nobody reads."""
    end, other = os.pipe()
    try:
        yield other
    finally:
        os.close(end)


def test_frames_are_the_same_however_their_bytes_arrive() -> None:
    sent = [(MESSAGE, 0, b"{}"), (1, 7, b"x" * 70_000), (1, 7, b""), (CREDIT_0, 3, b"\0\0\1\0")]
    data = b"".join(frame(*one) for one in sent)
    for step in (1, 3, 4096, len(data)):
        frames = Frames()
        assert [one for at in range(0, len(data), step) for one in frames.feed(data[at : at + step])] == sent


CREDIT_0 = 16


def test_a_frame_without_end_is_refused() -> None:
    with pytest.raises(ValueError):
        list(Frames().feed(HEADER.pack(MESSAGE, 0, MAX_FRAME + 1)))


def test_exit_codes_and_all_bytes_come_through(line: Line) -> None:
    data = os.urandom(1 << 20) * 5
    assert line.run("cat", stdin=data) == (0, data)
    assert line.run("sh", "-c", "echo last; exit 9") == (9, b"last\n")


def test_one_that_nobody_reads_holds_up_no_other(line: Line) -> None:
    with stuck_reader() as other:
        null = os.open(os.devnull, os.O_RDWR)
        endless = line.start("yes", stdio=(null, other, null))
        os.close(null)
        os.close(other)
        for _ in range(3):
            assert line.run("head", "-c", str(4 * WINDOW), "/dev/zero") == (0, bytes(4 * WINDOW))
        assert endless.code is None
    assert ended(endless) == 128 + signal.SIGPIPE  # its reader has gone


def test_one_that_does_not_read_holds_up_no_other(line: Line) -> None:
    end, other = os.pipe()
    null = os.open(os.devnull, os.O_RDWR)
    deaf = line.start("sleep", "1000", stdio=(end, null, null))
    os.close(end)
    os.close(null)
    os.set_blocking(other, False)
    written = 0
    while True:
        try:
            written += os.write(other, bytes(1 << 16))
        except BlockingIOError:
            if line.run("true")[0] == 0 and written >= WINDOW:
                break
    assert written <= 3 * WINDOW  # the window and two pipes
    line.wire.instruct(deaf, signal=signal.SIGKILL, group=False)
    assert ended(deaf) == 137
    os.close(other)


def test_the_end_is_told_after_the_last_byte(line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(channels, "LAST_WORDS_SECONDS", SECONDS)  # what is read here, slowly perhaps, is read
    for size in (1, 70_000, 2 * WINDOW):
        end, other = os.pipe()
        null = os.open(os.devnull, os.O_RDWR)
        found = line.start("head", "-c", str(size), "/dev/zero", stdio=(null, other, null))
        os.close(null)
        os.close(other)
        said = b""
        while not select.select([found.done], [], [], 0)[0]:
            if select.select([end, found.done], [], [], SECONDS)[0] == [end]:
                said += os.read(end, 4096)
        os.set_blocking(end, False)
        while piece := os.read(end, 1 << 16):
            said += piece
        os.close(end)
        assert len(said) == size


def test_what_nobody_reads_does_not_keep_an_end_back_for_good(line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(channels, "LAST_WORDS_SECONDS", 0.2)
    with stuck_reader() as other:
        null = os.open(os.devnull, os.O_RDWR)
        found = line.start("head", "-c", "200000", "/dev/zero", stdio=(null, other, null))
        os.close(null)
        os.close(other)
        assert ended(found) == 0


def test_what_cannot_be_started_is_said_and_nothing_is_left(line: Line) -> None:
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(BottleError, match="No such file or directory"):
        line.start("true", cwd="/no/such/place")
    assert ended(line.start("no-such-program")) == 127
    eventually(lambda: len(os.listdir("/proc/self/fd")) <= before + 2)  # the end of one, not collected, and ours of it


def test_a_signal_for_one_that_has_ended_starts_nothing_and_ends_nobody(line: Line) -> None:
    found = line.start("true")
    assert ended(found) == 0
    for _ in range(3):
        line.wire.instruct(found, signal=signal.SIGKILL, group=True)
        line.wire.instruct(found, op="resize", rows=1, cols=1)
    assert line.run("echo", "alive") == (0, b"alive\n")


def test_signals_in_quick_succession_neither_hide_how_a_program_ended_nor_end_the_others(line: Line) -> None:
    for _ in range(100):
        found = line.start("sleep", "1000")
        for number in (signal.SIGTERM, *[signal.SIGCONT] * 9):
            line.wire.instruct(found, signal=number, group=True)
        assert ended(found) == 128 + signal.SIGTERM


def test_what_was_ignored_where_it_began_is_not_ignored_by_its_programs() -> None:
    line = Line("nohup")
    try:
        assert int(line.run("sed", "-n", "s/^SigIgn:.//p", "/proc/self/status")[1], 16) == 0
    finally:
        line.close()


def test_closing_a_terminal_hangs_up(line: Line) -> None:
    master, slave = socket.socketpair()
    script = "stty size; echo ready; sleep 1000"
    found = line.start("sh", "-c", script, stdio=(slave.fileno(),) * 2, tty=True, rows=33, cols=99)
    slave.close()
    said = b""
    while b"ready" not in said:
        said += master.recv(4096)
    assert b"33 99" in said
    master.close()
    assert ended(found) == 129


def test_a_terminal_whose_program_reads_nothing_is_hung_up_all_the_same(line: Line) -> None:
    master, slave = socket.socketpair()
    script = "stty raw -echo; echo ready; sleep 1000"
    found = line.start("sh", "-c", script, stdio=(slave.fileno(),) * 2, tty=True, rows=24, cols=80)
    slave.close()
    said = b""
    while b"ready" not in said:
        said += master.recv(4096)
    master.setblocking(False)
    with contextlib.suppress(BlockingIOError):
        while line.run("true")[0] == 0:  # between the two, what was typed is moved as far as it goes
            master.sendall(bytes(1 << 16))
    master.close()
    assert ended(found) == 129


def test_everything_counts_as_killed_when_the_other_end_is_gone(line: Line) -> None:
    running = [line.start("sleep", "1000") for _ in range(3)]
    line.other.kill()
    assert [ended(one) for one in running] == [137] * 3
    with pytest.raises(BottleError, match="it is gone"):
        line.start("true")


def test_the_first_process_ends_with_its_line() -> None:
    line = Line()
    found = line.start("sleep", "1000")
    line.wire.close()
    assert line.other.wait(SECONDS) == 0
    assert ended(found) == 137
    line.close()


@pytest.mark.parametrize("nonsense", [
    b"\xff" * 64, frame(MESSAGE, 1, b"not json"), frame(MESSAGE, 1, b"[]"), frame(16, 1, b"x"),
    frame(MESSAGE, 1, b'{"op": "exit"}'), frame(MESSAGE, 1, b'{"op": "exit", "code": []}'),
    HEADER.pack(1, 1, MAX_FRAME + 1),
])  # fmt: skip
def test_nonsense_from_the_other_end_is_the_end_of_it(nonsense: bytes) -> None:
    ours, theirs = socket.socketpair()
    wire = Wire(ours)
    wire.run()
    null = os.open(os.devnull, os.O_RDWR)

    def answer() -> None:
        theirs.recv(4096)
        theirs.sendall(frame(MESSAGE, 1, b'{"op": "born", "pid": 2}'))

    thread = threading.Thread(target=answer)
    thread.start()
    found = wire.start({"argv": []}, (null, null, null), SECONDS)
    thread.join()
    theirs.sendall(nonsense)
    assert ended(found) == 137
    assert wire.gone
    wire.let_go()
    theirs.close()
    os.close(null)


def test_what_is_said_first_is_heard_and_silence_has_an_end() -> None:
    ours, theirs = socket.socketpair()
    wire = Wire(ours)
    wire.say({"op": "setup"})
    assert json.loads(theirs.recv(4096)[HEADER.size :]) == {"op": "setup"}
    with pytest.raises(BottleError, match="does not answer"):
        wire.hear(0.05)
    theirs.sendall(frame(MESSAGE, 0, b'{"op": "ready"}'))
    assert wire.hear(SECONDS) == {"op": "ready"}
    theirs.close()
    with pytest.raises(BottleError, match="does not answer"):
        wire.hear(SECONDS)
    wire.let_go()
