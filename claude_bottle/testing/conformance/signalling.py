"""Signals: to one program and no other, and never to a number that has been used again."""

from __future__ import annotations

import os
import signal

from claude_bottle.testing.conformance.place import Place, ended, eventually, ready, shell, start
from claude_bottle.testing.conformance.registry import group

# Those that signal by number or to all are for sandboxes only.
signalling, to_all = group("signals", harmless=True, shares=True), group("signals")


@signalling
def a_signal_reaches_its_program(place: Place) -> None:
    with place.up() as bottle:
        for number, code in ((signal.SIGTERM, 143), (signal.SIGKILL, 137), (signal.SIGHUP, 129)):
            process = start(bottle, ["sleep", "1000"])
            process.kill(number)
            assert ended(process) == code


@signalling
def a_program_may_answer_it(place: Place) -> None:
    with place.up() as bottle:
        process = ready(bottle, "trap 'exit 12' USR1; echo ready; while :; do sleep 0.05; done")
        process.kill(signal.SIGUSR1)
        assert ended(process) == 12


@signalling
def it_reaches_nothing_else(place: Place) -> None:
    with place.up() as bottle:
        one, other = start(bottle, ["sleep", "1000"]), start(bottle, ["sleep", "1000"])
        one.kill(signal.SIGKILL)
        assert ended(one) == 137
        assert other.poll() is None


@signalling
def one_that_has_ended_is_left_alone(place: Place) -> None:
    with place.up() as bottle:
        process = start(bottle, ["true"])
        assert ended(process) == 0
        process.kill(signal.SIGKILL)
        assert process.wait() == 0


@signalling
def stopping_and_going_on_end_nothing(place: Place) -> None:
    with place.up() as bottle:
        process = start(bottle, ["sh", "-c", "sleep 0.1; exit 8"])
        process.kill(signal.SIGSTOP)
        process.kill(signal.SIGCONT)
        assert ended(process) == 8


@to_all
def the_first_process_heeds_no_signal_from_inside(place: Place) -> None:
    with place.up() as bottle:
        process = start(bottle, ["sleep", "1000"])
        assert os.readlink(f"/proc/{process.pid}/ns/pid") != os.readlink("/proc/self/ns/pid")
        shell(bottle, "kill -TERM 1; kill -KILL 1; kill -STOP 1; kill -SEGV 1; kill -HUP 1")
        assert bottle.alive()
        assert shell(bottle, "true").code == 0


@to_all
def a_signal_to_all_inside_leaves_the_bottle_up(place: Place) -> None:
    with place.up() as bottle:
        process = start(bottle, ["sleep", "1000"])
        # Never without having seen that "all" is not everybody on this host.
        assert os.readlink(f"/proc/{process.pid}/ns/pid") != os.readlink("/proc/self/ns/pid")
        shell(bottle, "kill -KILL -1")
        assert ended(process) == 137
        eventually(bottle.alive)
        assert shell(bottle, "exit 3").code == 3
