"""A keeper that dies anywhere between an approval and the agent's next life: the capability is applied once, or not yet."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from claude_bottle.backend.fake.backend import FakeBackend
from claude_bottle.backend.registry import TABLE
from claude_bottle.keeper import boot
from claude_bottle.keeper.audit import Audit
from claude_bottle.keeper.interrupted import settle_interrupted
from claude_bottle.keeper.order import Order
from claude_bottle.keeper.reboot_contract import applied
from claude_bottle.model.capability import Capability
from claude_bottle.state.lock import IdentityLock
from claude_bottle.state.record import BottleRecord
from claude_bottle.values import replace
from tests import granting
from tests.keeper.conftest import Kept, Launch
from tests.keeper.test_reboot import TOOL, begun, grant, layers_of_the_tests, lives, record, states
from tests.waiting import eventually

__all__ = ["layers_of_the_tests"]


class Crashing(Audit):
    """Dies like a keeper that is killed, when the `dies_at`th line after the first of a layer is to be written."""

    dies_at = 0
    _seen = 0

    def record(self, kind: str, /, *, durable: bool = False, **data: object) -> None:
        self._seen += kind == "layer" or self._seen > 0
        if self._seen == self.dies_at:
            os.kill(os.getpid(), signal.SIGKILL)
        super().record(kind, durable=durable, **data)


@pytest.mark.parametrize("dies_at", range(1, 11))
def test_whenever_its_keeper_dies_a_capability_is_applied_once(
    launch: Launch, root: Path, monkeypatch: pytest.MonkeyPatch, dies_at: int
) -> None:
    """Whoever approved it looks after a crash, and asks again for what has not been applied."""
    monkeypatch.setattr(Crashing, "dies_at", dies_at)
    monkeypatch.setattr(boot, "Audit", Crashing)
    kept = begun(launch, root)
    with kept.control() as control:
        control.send(granting.begin(control, TOOL))
        assert kept.gone()
    settled = settle_interrupted(kept.order.paths, kept.identity)
    assert "interrupted" in settled.preserved
    if "added" in states(kept):
        assert applied(settled, Capability.from_dict(TOOL))
    monkeypatch.undo()
    monkeypatch.setenv("CLAUDE_BOTTLE_HOME", str(root))
    monkeypatch.setitem(TABLE, "local", "claude_bottle.backend.fake.backend:FakeBackend")
    (kept.order.workspace / "lives").unlink()
    again = launch(order=resumed(kept, settled))
    eventually(lambda: lives(again))
    if not applied(settled, Capability.from_dict(TOOL)):
        assert lives(again) == ["life bare note="]
        assert grant(again)[0] == "applied"
        eventually(lambda: len(lives(again)) == 2)
    assert lives(again)[-1].startswith("life brandnew")
    assert record(again).layers == (Capability.from_dict(TOOL),)


def resumed(kept: Kept, settled: BottleRecord) -> Order:
    """What `resume` would launch: the same bottle with the layers of its record."""
    paths = kept.order.paths
    IdentityLock(paths, kept.identity).acquire()
    made, backend = kept.order, FakeBackend()
    plan = made.plan
    for layer in settled.layers:
        plan = backend.with_layer(plan, layer)
    return replace(made, plan=plan, record=settled, former=settled, launch=replace(made.launch, resume=True))
