"""A bottle between two states: every command that meets it waits for what will come, or says what it is at."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from claude_bottle.backend.fake.backend import FakeBackend
from claude_bottle.backend.fake.bottle import FakeBottle
from claude_bottle.errors import BottleError
from claude_bottle.keeper.absence import NotRunning
from claude_bottle.keeper.reaching import let_settle
from claude_bottle.state.lock import IdentityLock
from claude_bottle.state.paths import Paths
from claude_bottle.state.record import SETTLING, this_process
from claude_bottle.state.store import Store
from claude_bottle.workflow.resume import find
from tests.keeper import orders
from tests.keeper.conftest import Kept, Launch
from tests.waiting import SECONDS, eventually

WAITS = "waiting until"


class Held:
    """A backend whose bottles go down only once somebody says so."""

    def __init__(self, place: Path) -> None:
        self.gate = place / "may-go-down"
        os.mkfifo(self.gate)
        fifo = self.gate

        class Slow(FakeBottle):
            def close(self) -> None:
                with contextlib.suppress(FileNotFoundError):  # it may be closed again
                    fifo.read_bytes()
                    fifo.unlink()
                super().close()

        class Backend(FakeBackend):
            bottle = Slow

        self.backend = Backend()

    def let_go(self) -> None:
        self.gate.write_bytes(b"")


@pytest.fixture
def held(tmp_path: Path) -> Held:
    return Held(tmp_path)


def settling(launch: Launch, held: Held, code: int) -> Kept:
    kept = launch("sh", "-c", f"exit {code}", backend=held.backend)
    eventually(lambda: not kept.order.paths.socket(kept.identity).exists())
    return kept


class Command:
    """A verb of ours as a process of its own."""

    def __init__(self, root: Path, *words: str) -> None:
        env = os.environ | {"CLAUDE_BOTTLE_HOME": str(root)}
        self.process = subprocess.Popen([sys.executable, "-m", "claude_bottle", *words], env=env, stdin=subprocess.DEVNULL,
                                        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)  # fmt: skip
        assert self.process.stderr is not None
        self.stderr = self.process.stderr

    def says(self, words: str) -> None:
        """Wait for a line with these words."""
        line = self.stderr.readline()
        assert words in line, line + self.stderr.read()

    def end(self) -> tuple[int, str]:
        said = self.process.communicate(timeout=SECONDS)[1]
        return self.process.returncode, said


Stop = Callable[[str], Command]


@pytest.fixture
def stop(root: Path) -> Iterator[Stop]:
    made: list[Command] = []

    def stop(identity: str) -> Command:
        made.append(Command(root, "stop", identity))
        return made[-1]

    yield stop
    for command in made:
        command.process.kill()
        command.process.communicate()


def test_stop_waits_for_the_settlement_and_tells_what_is_kept(launch: Launch, held: Held, stop: Stop) -> None:
    kept = settling(launch, held, 3)
    command = stop(kept.identity)
    command.says(WAITS)
    held.let_go()
    code, said = command.end()
    assert (code, "exit 3" in said, f"resume {kept.identity}" in said) == (0, True, True), said
    IdentityLock(kept.order.paths, kept.identity).acquire(wait=False).release()


def test_stop_waits_for_the_settlement_of_what_ends_well(launch: Launch, held: Held, stop: Stop) -> None:
    kept = settling(launch, held, 0)
    command = stop(kept.identity)
    command.says(WAITS)
    held.let_go()
    assert command.end() == (0, f"claude-bottle: {kept.identity} had ended already\n")
    assert not Store(kept.order.paths).exists(kept.identity)


def test_stop_notices_that_the_settlement_is_killed(launch: Launch, held: Held, stop: Stop) -> None:
    kept = settling(launch, held, 3)
    command = stop(kept.identity)
    command.says(WAITS)
    signal.pidfd_send_signal(kept.pidfd, signal.SIGKILL)
    code, said = command.end()
    assert (code, "its keeper was killed" in said) == (0, True), said


def test_stop_ends_a_bottle_that_was_still_starting(root: Path, launch: Launch, stop: Stop) -> None:
    order = orders.order(root, "sleep", "1000")
    Store(order.paths).update(order.identity, keeper=this_process())  # as the command that starts it writes it down
    command = stop(order.identity)
    command.says(WAITS)
    kept = launch(order=order)
    code, said = command.end()
    assert (code, "has ended (exit 143)" in said) == (0, True), said
    assert kept.gone()


def test_resume_waits_for_the_settlement(launch: Launch, held: Held, capfd: pytest.CaptureFixture[str]) -> None:
    kept = settling(launch, held, 3)
    found: list[str] = []

    def look() -> None:
        record, _ = find(kept.order.paths, kept.identity)
        assert record is not None
        found.append(record.status)

    said: list[str] = []
    resuming = threading.Thread(target=look)
    resuming.start()
    eventually(lambda: said.append(capfd.readouterr().err) or WAITS in "".join(said))  # type: ignore[func-returns-value]
    held.let_go()
    resuming.join(SECONDS)
    assert found == ["preserved"]


@pytest.mark.parametrize("words", [("diff",), ("checkpoint",), ("rewind",), ("cleanup", "--yes")], ids=" ".join)
def test_whoever_takes_a_bottle_as_it_is_waits_for_the_settlement(
    launch: Launch, held: Held, words: tuple[str, ...]
) -> None:
    kept = settling(launch, held, 3)
    eventually(lambda: Store(kept.order.paths).load(kept.identity).status == SETTLING)
    command = Command(kept.order.paths.root, *words, kept.identity)
    command.says(WAITS)
    held.let_go()
    said = command.end()[1]
    assert not any(refusal in said for refusal in ("in use", "is running", "being settled")), said


def test_whoever_wants_to_speak_to_it_is_told_that_it_is_over(launch: Launch, held: Held) -> None:
    kept = settling(launch, held, 3)
    with pytest.raises(NotRunning) as refused:
        kept.control()
    assert "being settled" in refused.value.why
    assert f"resume {kept.identity}" in refused.value.do
    held.let_go()
    assert kept.gone()
    with pytest.raises(NotRunning, match="is not running"):
        kept.control()


def test_what_starts_is_neither_running_nor_resumed(root: Path) -> None:
    order = orders.order(root, "sleep", "1000")
    Store(order.paths).update(order.identity, keeper=this_process())
    for ask in (lambda: let_settle(order.paths, order.identity), lambda: find(order.paths, order.identity)):
        with pytest.raises(BottleError, match="still starting"):
            ask()


def test_a_bottle_that_is_removed_while_it_is_looked_at_is_settled(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the two looks: who is at it, and whether it starts."""
    order = orders.order(root, "sleep", "1000")
    Store(order.paths).update(order.identity, keeper=this_process())
    socket_of = Paths.socket

    def removed(paths: Paths, identity: str) -> Path:
        shutil.rmtree(paths.state(identity))
        return socket_of(paths, identity)

    monkeypatch.setattr(Paths, "socket", removed)
    let_settle(order.paths, order.identity)
