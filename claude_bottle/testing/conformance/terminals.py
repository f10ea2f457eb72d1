"""Terminals: opened in the bottle, held outside, and as real as any."""

from __future__ import annotations

import os
import re
import select
from collections.abc import Iterator
from contextlib import contextmanager

from claude_bottle.backend.base import BASE_ENV, Bottle, Process
from claude_bottle.testing.conformance.place import SECONDS, Place, ended
from claude_bottle.testing.conformance.registry import group

terminals = group("terminals", harmless=True, shares=True)


class Terminal:
    """A terminal of a bottle, and the program that leads it."""

    def __init__(self, bottle: Bottle, script: str) -> None:
        self._bottle = bottle
        self.master, slave = bottle.open_pty()
        self.resize(24, 80)
        self.text = ""
        try:
            env = {**BASE_ENV, "TERM": "xterm"}
            self.process: Process = bottle.spawn(["sh", "-c", script], env=env, stdio=(slave,) * 3, controlling_tty=True)
        finally:
            os.close(slave)

    def resize(self, rows: int, cols: int) -> None:
        self._bottle.resize(self.master, rows, cols)

    def type(self, text: bytes) -> None:
        os.write(self.master, text)

    def until(self, pattern: str) -> re.Match[str]:
        """Read until it shows `pattern`."""
        while not (found := re.search(pattern, self.text)):
            if not select.select([self.master], [], [], SECONDS)[0]:
                raise AssertionError(f"it does not show {pattern!r}, but {self.text!r}")
            try:
                piece = os.read(self.master, 1 << 16)
            except OSError:
                piece = b""
            if not piece:
                raise AssertionError(f"it ended without {pattern!r}, with {self.text!r}")
            self.text += piece.decode(errors="replace")
        self.text = self.text[found.end() :]
        return found


@contextmanager
def terminal(place: Place, script: str) -> Iterator[Terminal]:
    with place.up() as bottle:
        made = Terminal(bottle, script)
        try:
            yield made
        finally:
            os.close(made.master)


@terminals
def all_three_descriptors_are_the_terminal(place: Place) -> None:
    with terminal(place, "test -t 0 && test -t 1 && test -t 2 && echo all") as shown:
        shown.until("all")
        assert ended(shown.process) == 0


@terminals
def its_name_exists_inside(place: Place) -> None:
    with terminal(place, 'name=$(tty) && test -c "$name" && echo "name $name"') as shown:
        assert shown.until(r"name (\S+)")[1].startswith("/dev/pts/")


@terminals
def it_is_the_controlling_terminal(place: Place) -> None:
    with terminal(place, "echo through > /dev/tty; exit 6") as shown:
        shown.until("through")
        assert ended(shown.process) == 6


@terminals
def without_one_there_is_no_controlling_terminal(place: Place) -> None:
    from claude_bottle.testing.conformance.place import shell

    with place.up() as bottle:
        assert shell(bottle, "(: < /dev/tty) 2>/dev/null").code != 0


@terminals
def the_window_has_the_size_it_was_given(place: Place) -> None:
    with terminal(place, "read go; stty size; read go") as shown:
        shown.resize(33, 111)
        shown.type(b"\n")
        shown.until(r"33 111")


@terminals
def a_new_size_is_told(place: Place) -> None:
    with terminal(place, "trap 'stty size' WINCH; echo ready; while :; do sleep 0.05; done") as shown:
        shown.until("ready")
        shown.resize(44, 122)
        shown.until("44 122")


@terminals
def what_is_typed_arrives_and_is_echoed(place: Place) -> None:
    with terminal(place, "read line; echo got:$line:") as shown:
        shown.type(b"hello\n")
        shown.until("hello")
        shown.until("got:hello:")


@terminals
def control_c_interrupts_the_foreground(place: Place) -> None:
    with terminal(place, "trap 'echo caught; exit 9' INT; echo ready; while :; do sleep 0.05; done") as shown:
        shown.until("ready")
        shown.type(b"\x03")
        shown.until("caught")
        assert ended(shown.process) == 9


@terminals
def control_d_ends_the_input(place: Place) -> None:
    with terminal(place, "cat; echo over") as shown:
        shown.type(b"line\n\x04")
        shown.until("over")


@terminals
def closing_it_hangs_up(place: Place) -> None:
    with place.up() as bottle:
        shown = Terminal(bottle, "echo ready; exec sleep 1000")
        shown.until("ready")
        os.close(shown.master)
        assert ended(shown.process) == 129


@terminals
def two_are_apart(place: Place) -> None:
    with place.up() as bottle:
        first, second = Terminal(bottle, "read x; echo one:$x"), Terminal(bottle, "read x; echo two:$x")
        first.type(b"a\n")
        second.type(b"b\n")
        first.until("one:a")
        second.until("two:b")
        for one in (first, second):
            assert ended(one.process) == 0
            os.close(one.master)


@terminals
def a_lot_of_output_arrives_whole(place: Place) -> None:
    with terminal(place, "i=0; while [ $i -lt 5000 ]; do echo line $i of many; i=$((i+1)); done; echo the end") as shown:
        shown.until("line 4999 of many")
        shown.until("the end")
