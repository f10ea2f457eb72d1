"""A keeper of a real bottle that is killed before any line of its journal, from its boot to its settlement: nothing of the
bottle lives on, the next command settles it, and it runs again."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from claude_bottle.backend.bubblewrap.backend import BubblewrapBackend
from claude_bottle.backend.registry import TABLE
from claude_bottle.errors import BottleError
from claude_bottle.gate.config import GateConfig
from claude_bottle.keeper import boot
from claude_bottle.keeper.audit import Audit
from claude_bottle.keeper.interrupted import settle_interrupted
from claude_bottle.keeper.order import Order
from claude_bottle.keeper.spawn import start
from claude_bottle.model.policy import Rule
from claude_bottle.state.lock import IdentityLock, held_here
from claude_bottle.state.store import Store
from tests.keeper import orders, real
from tests.keeper.conftest import Launch
from tests.waiting import SECONDS, ended, eventually

AGENT = (
    "/bin/sh",
    "-c",
    f'mkdir -p "{os.path.dirname(orders.CONVERSATION)}"; cd; echo "{{}}" >> {orders.CONVERSATION}; exit 3',
)
LINES = 8  # of a bottle whose agent ends with 3, from its plan to its being preserved


class Crashing(Audit):
    """Writes down who its children are and dies like a keeper that is killed, when the `dies_at`th line is to be written."""

    dies_at = 0
    place = Path()
    _seen = 0

    def record(self, kind: str, /, *, durable: bool = False, **data: object) -> None:
        self._seen += 1
        if self._seen == self.dies_at:
            (whole := self.place.with_suffix(".new")).write_text(" ".join(map(str, [os.getpid(), *family(os.getpid())])))
            whole.rename(self.place)
            os.kill(os.getpid(), signal.SIGKILL)
        super().record(kind, durable=durable, **data)


def family(parent: int) -> list[int]:
    own = real.children(parent)
    return own + [pid for child in own for pid in family(child)]


def again(order: Order) -> Order:
    """What `resume` would launch."""
    record = settle_interrupted(order.paths, order.identity)
    assert "interrupted" in record.preserved
    IdentityLock(order.paths, order.identity).acquire()
    gate = GateConfig("tester-000000", (Rule("granted.test"),), nonce=os.urandom(8).hex())
    return orders.for_record(order.paths, record, *AGENT, backend=BubblewrapBackend(), gate=gate, former=record)


@pytest.mark.parametrize("dies_at", range(1, LINES + 1))
def test_wherever_a_keeper_is_killed_nothing_lives_on_and_the_bottle_runs_again(
    launch: Launch, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dies_at: int
) -> None:
    monkeypatch.setattr(Crashing, "dies_at", dies_at)
    monkeypatch.setattr(Crashing, "place", tmp_path / "family")
    monkeypatch.setattr(boot, "Audit", Crashing)
    monkeypatch.setitem(TABLE, "local", "claude_bottle.backend.bubblewrap.backend:BubblewrapBackend")
    order = real.order(root.parent, *AGENT)
    try:
        up = start(order)
        up.connection.close()
    except BottleError as problem:
        assert "its keeper ended without a word" in problem.why
        lock = held_here(order.paths, order.identity)
        assert lock
        lock.release()  # as the end of the command does
    eventually((tmp_path / "family").exists)
    assert all(ended(int(pid)) for pid in (tmp_path / "family").read_text().split())
    monkeypatch.setattr(boot, "Audit", Audit)
    kept = launch(order=again(order))
    settled = kept.birth.settled()
    assert settled is not None and settled["code"] == 3
    assert kept.gone(SECONDS)
    assert list(order.paths.run_dir.iterdir()) == []
    assert "exit 3" in Store(order.paths).load(order.identity).preserved
