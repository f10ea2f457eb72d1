"""The judge, in its own confined process, on packs of real git: what it lets through is exactly what was judged."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.git_remote import git
from tests.workspace.push.court import Court


@pytest.fixture
def court(tmp_path: Path) -> Iterator[Court]:
    made = Court(tmp_path)
    yield made
    made.close()


def test_new_commits_are_judged_and_packed_anew(court: Court) -> None:
    court.commit("work", "work\n")
    verdict = court.judge()
    assert verdict["allow"], verdict
    assert (verdict["commits"], verdict["objects"]) == (1, 3)
    assert len(verdict["pack"]) == verdict["size"]
    assert verdict["pack"].startswith(b"PACK")
    assert court.faults == []
