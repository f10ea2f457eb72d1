"""A CLI that is told to end while its bottle comes up: it is taken back, or the operator has been told that it runs."""

from __future__ import annotations

import os
import signal
import socket
from pathlib import Path
from typing import NoReturn

import pytest

from claude_bottle.keeper import birth
from claude_bottle.keeper.client import Control
from claude_bottle.keeper.order import PIPES, Pipes
from claude_bottle.keeper.spawn import start
from claude_bottle.state.lock import held_here
from claude_bottle.state.store import Store
from claude_bottle.workflow import piping
from tests.keeper import orders
from tests.waiting import SECONDS, ended, eventually, readable


def interrupted(*_: object) -> NoReturn:
    raise KeyboardInterrupt


def taken_for_ours(*_: object) -> NoReturn:
    raise AssertionError("the agent was not told")


@pytest.mark.parametrize("when", ["before it reads the report", "once it has read it"])
def test_a_launch_whose_report_nobody_has_taken_is_undone(root: Path, monkeypatch: pytest.MonkeyPatch, when: str) -> None:
    """The report has been sent, so the keeper cannot know by that."""
    order = orders.order(root, "sleep", "1000")
    if when == "once it has read it":
        monkeypatch.setattr(birth, "take", interrupted)
    else:
        monkeypatch.setattr(birth, "await_report", lambda mine: interrupted(readable(mine.fileno(), SECONDS)))
    with pytest.raises(KeyboardInterrupt):
        start(order)
    held = held_here(order.paths, order.identity)
    assert held is not None
    held.release()
    eventually(lambda: not os.listdir(order.paths.states))


def test_a_launch_that_can_no_longer_be_undone_has_been_announced(root: Path) -> None:
    order, said = orders.order(root, "sleep", "1000"), []

    def announce() -> None:
        signal.raise_signal(signal.SIGINT)  # to this thread, which holds it back while it is told
        said.append("it runs")

    former = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            start(order, announce)
    finally:
        signal.signal(signal.SIGINT, former)
    assert said == ["it runs"]
    held = held_here(order.paths, order.identity)
    assert held is not None
    held.release()
    with Control(order.paths, order.identity) as control:
        keeper = Store(order.paths).load(order.identity).keeper
        control.stop(0, keep=False)
    assert keeper is not None and ended(keeper.pid)


def test_a_run_that_is_left_says_that_its_agent_runs_on(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As when its terminal goes."""
    order = orders.order(root, "sh", "-c", "echo up; exec sleep 1000", io=PIPES, pipes=Pipes.make())
    former = signal.signal(signal.SIGHUP, interrupted)
    try:
        with pytest.raises(KeyboardInterrupt):
            piping.run(order, taker=lambda _said: signal.raise_signal(signal.SIGHUP))
    finally:
        signal.signal(signal.SIGHUP, former)
    assert f"{order.identity} runs on (claude-bottle stop {order.identity} ends it)" in capsys.readouterr().err
    with Control(order.paths, order.identity) as control:
        keeper = Store(order.paths).load(order.identity).keeper
        control.stop(0, keep=False)
    assert keeper is not None and ended(keeper.pid)


@pytest.mark.parametrize(("told", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_run_that_can_no_longer_be_undone_passes_on_what_it_is_told(
    root: Path, monkeypatch: pytest.MonkeyPatch, told: signal.Signals, code: int
) -> None:
    """To its agent, as while it moves the bytes: else that would run on with nobody to know of it."""
    take = birth.take

    def told_meanwhile(mine: socket.socket) -> None:
        take(mine)
        signal.raise_signal(told)  # to this thread, which holds it back

    monkeypatch.setattr(birth, "take", told_meanwhile)
    former = signal.signal(told, taken_for_ours)
    try:
        assert piping.run(orders.order(root, "sleep", "1000", io=PIPES, pipes=Pipes.make())) == code
        assert signal.getsignal(told) is taken_for_ours
    finally:
        signal.signal(told, former)
