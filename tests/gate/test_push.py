"""Pushes through the gate, with a real client, a real server and real judges: whole, as judged, or not at all."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from claude_bottle.gate.ca import Authority
from claude_bottle.model.policy import Rule
from tests.gate.forge import Forge, rule

Make = Callable[..., Forge]


@pytest.fixture
def make(tmp_path: Path, authority: Authority) -> Iterator[Make]:
    made: list[Forge] = []

    def build(*rules: Rule, **more: Any) -> Forge:
        made.append(Forge(tmp_path, authority, *rules, **more))
        made[-1].clone()
        return made[-1]

    yield build
    for one in made:
        one.close()


def test_a_push_to_a_granted_branch_arrives_as_it_was_made(make: Make) -> None:
    forge = make()
    new = forge.commit(branch="bottle/x")
    done = forge.run("push", "origin", "bottle/x")
    assert done.returncode == 0, done.stderr
    assert forge.refs()["refs/heads/bottle/x"] == new
