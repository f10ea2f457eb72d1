"""A running bottle that goes back to a checkpoint in its keeper: what comes back, what is kept, and what a crash leaves."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest

from claude_bottle.errors import BottleError
from claude_bottle.keeper import boot, checkpointing, restoring
from claude_bottle.keeper.audit import Audit
from claude_bottle.keeper.interrupted import settle_interrupted
from claude_bottle.keeper.order import PIPES, Order, Pipes
from claude_bottle.state import checkpoints
from claude_bottle.state.store import Store
from claude_bottle.values import replace
from claude_bottle.workflow.checkpoints import rewind
from tests.keeper.conftest import Kept, Launch
from tests.keeper.test_reboot import Noting, events, kinds, ready, record
from tests.waiting import eventually

# One life of an agent: says that it lives, then waits to be asked to end.
LIVES = "trap 'echo late >> told; exit 0' TERM; echo life >> told; echo life >> ~/told; while :; do sleep 0.05; done"


def shelled(root: Path, script: str = LIVES, **options: Any) -> Order:
    """Its conversation is nobody's, so that it needs no id."""
    made = ready(root, script, **options)
    return replace(made, record=Store(made.paths).update(made.identity, harness="shell"))


def begun(launch: Launch, root: Path) -> Kept:
    """One that has lived for a while since its checkpoint `then`."""
    kept = launch(order=shelled(root))
    eventually(lambda: told(kept) == at_home(kept) == ["life"])
    with kept.control() as control:
        assert control.checkpoint("then", checkpoints.OPERATOR) == "then"
    (kept.order.workspace / "told").write_text("life\nmore\n")
    return kept


def told(kept: Kept) -> list[str]:
    return lines(kept.order.workspace / "told")


def at_home(kept: Kept) -> list[str]:
    return lines(kept.order.paths.home(kept.identity) / "told")


def lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []


def back(kept: Kept, to: str = "then") -> str:
    with kept.control() as control:
        return control.rewind(to)


def kept_of(kept: Kept, name: str) -> list[str]:
    workspace = checkpoints.load(kept.order.paths, kept.identity, name).workspace
    assert workspace is not None
    return (workspace / "told").read_text().splitlines()


def test_it_goes_on_in_the_same_keeper_as_it_was_and_nothing_is_lost(launch: Launch, root: Path) -> None:
    kept = begun(launch, root)
    keeper, agent = kept.up.keeper, kept.agent()
    assert back(kept) == "before-rewind-1"
    eventually(lambda: told(kept) == ["life", "life"] and at_home(kept) == ["life", "life"])
    assert kept_of(kept, "before-rewind-1") == ["life", "more", "late"]  # what it wrote as it ended, too
    with kept.control() as control:
        status = control.status()
    assert status["keeper"] == keeper
    assert status["agent"] != agent
    assert status["busy"] == ""
    assert back(kept, "before-rewind-1") == "before-rewind-2"
    eventually(lambda: told(kept) == ["life", "more", "late", "life"])


class Prompted(Noting):
    def command(self, launch: Any) -> list[str]:
        return ["sh", "-c", f"SILENT={launch.silent}; {launch.args[1]}"]


def test_what_its_operator_said_at_the_start_is_not_said_again(launch: Launch, root: Path) -> None:
    script = "trap 'exit 0' TERM; echo $SILENT >> ~/said; while :; do sleep 0.05; done"
    kept = launch(order=replace(shelled(root, script), harness=Prompted(), argv=("sh", "-c", script)))
    said = kept.order.paths.home(kept.identity) / "said"
    eventually(lambda: lines(said))
    with kept.control() as control:
        control.checkpoint("then", checkpoints.OPERATOR)
    back(kept)
    eventually(lambda: lines(said)[-1:] == ["True"])


def test_a_bottle_that_was_rewound_is_kept_when_it_ends_well(launch: Launch, root: Path) -> None:
    kept = begun(launch, root)
    back(kept)
    eventually(lambda: told(kept) == ["life", "life"])
    kept.birth.send({"op": "stop", "grace": 60, "keep": False})
    settled = kept.birth.settled()
    assert settled is not None
    assert settled["preserved"] == ["checkpoints"]


@pytest.mark.parametrize("dies_at", range(1, 8))
def test_whenever_its_keeper_dies_it_is_wholly_as_before_or_wholly_as_then(
    launch: Launch, root: Path, monkeypatch: pytest.MonkeyPatch, dies_at: int
) -> None:
    """At each line of the journal from the beginning of the rewinding on; the last is another agent's beginning."""

    class Crashing(Audit):
        seen = 0

        def record(self, kind: str, /, *, durable: bool = False, **data: object) -> None:
            self.seen += kind == "rebooting" or self.seen > 0
            if self.seen == dies_at:
                os.kill(os.getpid(), signal.SIGKILL)
            super().record(kind, durable=durable, **data)

    monkeypatch.setattr(boot, "Audit", Crashing)
    kept = begun(launch, root)
    with kept.control() as control:
        control.send({"op": "rewind", "to": "then"})
        assert kept.gone()
    settled = settle_interrupted(kept.order.paths, kept.identity)
    assert "interrupted" in settled.preserved
    decided = dies_at == 7
    assert told(kept)[:2] == (["life"] if decided else ["life", "more"])
    assert at_home(kept) == ["life"]
    assert not restoring.under_way(kept.order.paths, kept.identity)
    if decided:
        assert kinds(kept)[-4:] == ["checkpoint", "rewound", "archived", "preserved"]
        assert kept_of(kept, "before-rewind-1") == ["life", "more", "late"]


STEPS = ("_bring_back", "_branch", "sync_directory")


@pytest.mark.parametrize("step", STEPS)
def test_what_a_crash_cut_short_is_completed_by_whoever_comes_next(
    launch: Launch, root: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """Before, between and after the steps that change something."""

    def die(*_: object) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    monkeypatch.setattr(restoring, step, die)
    kept = begun(launch, root)
    with kept.control() as control:
        control.send({"op": "rewind", "to": "then"})
        assert kept.gone()
    monkeypatch.undo()
    monkeypatch.setitem(boot_table(), "local", "claude_bottle.backend.fake.backend:FakeBackend")
    settle_interrupted(kept.order.paths, kept.identity)
    assert (told(kept), at_home(kept)) == (["life"], ["life"])
    assert kept_of(kept, "before-rewind-1") == ["life", "more", "late"]


def boot_table() -> dict[str, str]:
    from claude_bottle.backend.registry import TABLE

    return TABLE


def test_a_rewinding_that_cannot_be_completed_leads_anywhere_else_by_another(launch: Launch, root: Path) -> None:
    kept = begun(launch, root)
    with kept.control() as control:
        control.checkpoint("gone", checkpoints.OPERATOR)
    kept.birth.send({"op": "stop", "grace": 60, "keep": True})
    kept.birth.settled()
    assert kept.gone()
    paths = kept.order.paths
    paths.plan(kept.identity).write_text("{}")
    paths.plan(kept.identity).chmod(0o600)
    restoring.decide(paths, kept.identity, checkpoints.load(paths, kept.identity, "gone"))
    (paths.checkpoints(kept.identity) / "gone" / checkpoints.NOTE).unlink()
    with pytest.raises(BottleError, match="was to go back to its checkpoint gone"):
        restoring.complete(paths, kept.identity)
    rewind(kept.identity, "then", paths)
    assert told(kept) == ["life"]


def test_where_nothing_can_be_kept_nothing_changes_and_it_goes_on(
    launch: Launch, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, running: bool, **__: object) -> Any:
        if running:
            return taken(*_, running=running, **__)
        raise BottleError("the disk is full")

    taken = checkpointing.take
    monkeypatch.setattr(checkpointing, "take", full)
    kept = begun(launch, root)
    with pytest.raises(BottleError, match="the disk is full"):
        back(kept)
    eventually(lambda: told(kept) == ["life", "more", "late", "life"])
    assert "rewound" not in kinds(kept)
    assert any("not rewound" in str(event["data"]) for event in events(kept) if event["kind"] == "fault")


def test_one_that_could_not_be_brought_back_is_not_said_to_be_there(
    launch: Launch, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise BottleError("the disk is full")

    monkeypatch.setattr(restoring, "_bring_back", full)
    kept = begun(launch, root)
    with pytest.raises(BottleError, match="was to go back to its checkpoint then") as caught:
        back(kept)
    assert "is as it was at" not in str(caught.value)


def test_what_cannot_be_rewound_is_refused_and_runs_on(launch: Launch, root: Path) -> None:
    kept = begun(launch, root)
    with pytest.raises(BottleError, match="has no checkpoint nothing"):
        back(kept, "nothing")
    headless = launch(order=replace(shelled(root, io=PIPES, pipes=Pipes.make())))
    with headless.control() as control:
        control.checkpoint("then", checkpoints.OPERATOR)
    with pytest.raises(BottleError, match="no session that could go on"):
        back(headless)
    assert kept.agent()
    assert headless.agent()
    assert record(kept).status == "running"
