"""What is gathered for a launch, and what becomes of a launch that has been begun when the rest cannot be had."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from claude_bottle.backend import registry
from claude_bottle.backend.base import Begun
from claude_bottle.backend.fake.backend import FakeBackend
from claude_bottle.errors import BottleError
from claude_bottle.gate.config import GateConfig
from claude_bottle.state.paths import Paths
from claude_bottle.state.store import Store
from claude_bottle.workflow import boot, gates, programs, start

MANIFEST = {
    "version": 1,
    "bottles": {"offline": {}},
    "agents": {"offline": {"bottle": "offline", "harness": "shell"}},
}
seen: list[str] = []


class Way(Begun):
    def descriptors(self) -> tuple[int, ...]:
        return ()

    def hand_over(self) -> None:
        seen.append("handed over")

    def abandon(self) -> None:
        seen.append("abandoned")


class Early(FakeBackend):
    """Begins a launch as soon as it is told to."""

    def begin(self, plan: Any, mounts: Any) -> Begun:
        assert Store(Paths.default()).exists(plan.slug), "whoever finds it must find whose it is"
        seen.append("begun")
        return Way()


@pytest.fixture
def gathered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Any, ...]:
    root = tmp_path / "state"
    root.mkdir(0o700)
    (root / "claude-bottle.json").write_text(json.dumps(MANIFEST))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("CLAUDE_BOTTLE_HOME", str(root))
    monkeypatch.setitem(registry.TABLE, "early", f"{__name__}:Early")
    seen.clear()
    paths = Paths.default()
    spec, plan = start.prepare(start.Options("offline", backend="early"), paths, tmp_path, cwd=tmp_path, headless=True)
    return spec, start.replace(plan, backend="early"), programs.ensure("shell", paths), paths


def test_a_launch_is_begun_before_the_rest_is_gathered(
    gathered: tuple[Any, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    def gathering(*_arguments: object, **_more: object) -> GateConfig:
        seen.append("gathered")
        return GateConfig("offline-aaaaaa", ())

    monkeypatch.setattr(gates, "configure", gathering)
    order = boot.order(*gathered)
    assert order.begun is not None
    assert seen == ["begun", "gathered"]
    if order.pipes:
        order.pipes.close_agent()
        order.pipes.close_operator()


def test_what_cannot_be_gathered_takes_the_launch_back(
    gathered: tuple[Any, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    def lacking(*_arguments: object, **_more: object) -> None:
        raise BottleError("a certificate is missing")

    monkeypatch.setattr(gates, "configure", lacking)
    with pytest.raises(BottleError, match="certificate"):
        boot.order(*gathered)
    assert seen == ["begun", "abandoned"]
    assert Store(Paths.default()).identities() == []
