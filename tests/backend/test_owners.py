"""The host uid of a root-started bottle's user, and the ids of a build of root's."""

from __future__ import annotations

import os

import pytest

from claude_bottle.backend import subids
from claude_bottle.backend.bubblewrap.owners import host_uid


def test_the_uid_is_stable_and_outside_every_range_in_use() -> None:
    uids = [host_uid(f"agent-{number}") for number in range(2000)]
    assert uids == [host_uid(f"agent-{number}") for number in range(2000)]
    assert min(uids) >= 0x70000000
    assert max(uids) < 0x78000000
    assert len(set(uids)) > 1990


def test_the_ids_of_a_build_are_neither_the_hosts_nor_a_bottles_nor_another_builds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    ranges = [subids.own(f"build-{number}") for number in range(20)]
    starts = set()
    for ids in ranges:
        assert ids is not None
        assert min(ids) >= 0x78000000
        assert ids.users + subids.COUNT - 1 <= 0x80000000
        assert ids == (ids.user, ids.user, ids.user + 1, ids.user + 1)
        starts.add(ids.user // subids.COUNT)
    assert len(starts) == len(ranges)
