"""The operator's terminal, lent and given back; on pseudo terminals of the tests' own."""

from __future__ import annotations

import os
import select
import signal
import termios
from collections.abc import Iterator

import pytest

from claude_bottle.errors import BottleError
from claude_bottle.keeper.relay import _Sink
from claude_bottle.keeper.screen import Screen, raw


@pytest.fixture
def pair() -> Iterator[tuple[int, int]]:
    """The master and slave of a terminal."""
    master, slave = os.openpty()
    yield master, slave
    os.close(master)
    os.close(slave)


def waiting(fd: int) -> bool:
    return bool(select.select([fd], [], [], 0)[0])


def test_input_nobody_took_is_thrown_away(pair: tuple[int, int]) -> None:
    master, slave = pair
    with Screen(slave, slave):
        os.write(master, b"rm -rf precious\n")
        select.select([slave], [], [])
    assert not waiting(slave)


def test_the_line_is_as_it_was_after_an_error(pair: tuple[int, int]) -> None:
    master, slave = pair
    before = termios.tcgetattr(slave)

    def fail() -> None:
        with Screen(slave, slave) as screen:
            os.write(slave, screen.shown(b"\x1b[?1049h"))
            assert termios.tcgetattr(slave) != before
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert termios.tcgetattr(slave) == before
    said = b""
    while b"\x1b[?1049l" not in said:
        said += os.read(master, 4096)


def test_signal_handlers_are_as_they_were(pair: tuple[int, int]) -> None:
    numbers = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGWINCH)
    before = [signal.getsignal(number) for number in numbers]
    with Screen(pair[1], pair[1]):
        pass
    assert [signal.getsignal(number) for number in numbers] == before


def test_a_terminal_found_raw_is_left_sane(pair: tuple[int, int]) -> None:
    _, slave = pair
    termios.tcsetattr(slave, termios.TCSANOW, raw(termios.tcgetattr(slave)))  # type: ignore[arg-type]
    with Screen(slave, slave):
        pass
    assert termios.tcgetattr(slave)[3] & termios.ICANON


def test_what_is_no_terminal_is_refused() -> None:
    reader, writer = os.pipe()
    with pytest.raises(BottleError, match="needs a terminal"):
        Screen(reader, writer)
    os.close(reader)
    os.close(writer)


def test_output_of_a_program_without_a_terminal_is_filtered_where_it_ends_on_one(pair: tuple[int, int]) -> None:
    master, slave = pair
    hostile = b"a\x1b]52;c;QUJD\x07b"
    _Sink(slave).write(hostile)
    assert os.read(master, 100) == b"ab"
    reader, writer = os.pipe()
    _Sink(writer).write(hostile)
    assert os.read(reader, 100) == hostile
    os.close(reader)
    os.close(writer)
