"""A home that does not lie on this host's disk: what the keeper fetches, when, and what it then removes."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from claude_bottle import values
from claude_bottle.backend.base import Boot
from claude_bottle.backend.fake.backend import FakeBackend
from claude_bottle.backend.fake.bottle import FakeBottle
from claude_bottle.backend.registry import TABLE
from claude_bottle.errors import BottleError
from claude_bottle.keeper.interrupted import settle_interrupted
from claude_bottle.model.plan import BottlePlan
from tests.keeper import orders
from tests.keeper.conftest import Launch
from tests.keeper.test_life import SAY, archived, outcome
from tests.waiting import ended, eventually

WORK = 'echo kept > "$HOME/notes"; '


def place_of(home: Path) -> Path:
    """Where the bottle of this state directory really keeps its home."""
    return home.parent.with_name(f"elsewhere-{home.parent.name}")


class FarBottle(FakeBottle):
    def __init__(self, plan: BottlePlan, boot: Boot) -> None:
        self.here, self.far = boot.home, place_of(boot.home)
        shutil.copytree(self.here, self.far)
        super().__init__(plan, replace(boot, home=self.far))

    def fetch_home(self, names: Sequence[str] = ()) -> Sequence[str]:
        if (self.far / "out-of-reach").exists() and not names:
            raise BottleError("the engine does not answer")
        for name in names or [path.name for path in self.far.iterdir()]:
            if (self.far / name).is_dir():
                shutil.copytree(self.far / name, self.here / name, dirs_exist_ok=True)
            elif (self.far / name).exists():
                shutil.copy(self.far / name, self.here / name)
        return ()

    def release(self) -> None:
        shutil.rmtree(self.far, ignore_errors=True)


class FarBackend(FakeBackend):
    name = "far"
    bottle = FarBottle
    snapshot_seconds = 0.05

    def recover(self, identity: str, home: Path, workspace: Path) -> None:
        if place_of(home).exists():
            shutil.copytree(place_of(home), home, dirs_exist_ok=True)
            shutil.rmtree(place_of(home))


@pytest.fixture(autouse=True)
def far_backend(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(TABLE, "local", "tests.keeper.test_elsewhere:FarBackend")


def test_the_conversation_is_archived_while_the_agent_runs(launch: Launch) -> None:
    kept = launch("sh", "-c", SAY + "echo said; exec sleep 1000", backend=FarBackend())
    eventually(lambda: "hello" in archived(kept))
    assert not (kept.order.paths.home(kept.identity) / "notes").exists()


class Slow:
    """A harness that takes its time with the conversation: until whoever writes to `pipe` is through."""

    supports_resume = True

    def __init__(self, harness: Any, pipe: Path) -> None:
        self._harness, self._pipe = harness, pipe

    def __getattr__(self, name: str) -> Any:
        return getattr(self._harness, name)

    def latest_session(self, _home: Path) -> None:
        if self._pipe.exists():
            self._pipe.read_bytes()


def test_the_keeper_goes_on_while_a_long_conversation_is_archived(launch: Launch, root: Path) -> None:
    order = orders.order(root, "sh", "-c", SAY + "echo said; exec sleep 1000", backend=FarBackend())
    os.mkfifo(pipe := root.parent / "slow")
    kept = launch(order=values.replace(order, harness=Slow(order.harness, pipe)))
    with pipe.open("wb"):  # once it is archiving; it goes on when this ends
        pipe.unlink()
        assert kept.agent()
        assert archived(kept) == ""
    eventually(lambda: "hello" in archived(kept))


def test_a_preserved_bottle_is_brought_home_and_its_place_removed(launch: Launch) -> None:
    kept = launch("sh", "-c", SAY + WORK + "exit 3", backend=FarBackend())
    home = kept.order.paths.home(kept.identity)
    assert outcome(kept) == (3, ["exit 3"])
    assert (home / "notes").read_text() == "kept\n"
    assert not place_of(home).exists()


def test_a_clean_end_removes_the_place_too(launch: Launch) -> None:
    kept = launch("sh", "-c", SAY + WORK, backend=FarBackend())
    home = kept.order.paths.home(kept.identity)
    assert outcome(kept) == (0, [])
    assert "hello" in archived(kept)
    assert not place_of(home).exists()
    assert not home.exists()


def test_what_cannot_be_brought_home_stays_where_it_is_until_it_can(launch: Launch) -> None:
    kept = launch("sh", "-c", SAY + WORK + 'touch "$HOME/out-of-reach"; exit 3', backend=FarBackend())
    home = kept.order.paths.home(kept.identity)
    code, reasons = outcome(kept)
    assert (code, reasons) == (3, ["exit 3", "its home could not be brought here"])
    assert (place_of(home) / "notes").exists()


def test_a_killed_keeper_leaves_a_home_that_the_settlement_brings_here(launch: Launch) -> None:
    kept = launch("sh", "-c", SAY + WORK + "echo said; exec sleep 1000", backend=FarBackend())
    home = kept.order.paths.home(kept.identity)
    notes = place_of(home) / "notes"
    eventually(lambda: notes.exists() and notes.stat().st_size)
    agent = kept.agent()
    os.kill(kept.up.keeper, signal.SIGKILL)
    assert ended(agent)
    assert kept.gone()
    assert settle_interrupted(kept.order.paths, kept.identity).preserved == ("interrupted",)
    assert (home / "notes").read_text() == "kept\n"
    assert not place_of(home).exists()


def test_a_failed_boot_leaves_no_place(root: Path) -> None:
    from claude_bottle.keeper.order import PIPES
    from claude_bottle.keeper.spawn import start

    order = orders.order(root, "true", io=PIPES, backend=FarBackend())  # without pipes
    with pytest.raises(BottleError, match="needs a terminal or pipes"):
        start(order)
    assert os.listdir(order.paths.states) == []
