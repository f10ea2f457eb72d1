"""The host uid of a root-started bottle's user."""

from __future__ import annotations

from claude_bottle.backend.bubblewrap.owners import host_uid


def test_the_uid_is_stable_and_outside_every_range_in_use() -> None:
    uids = [host_uid(f"agent-{number}") for number in range(2000)]
    assert uids == [host_uid(f"agent-{number}") for number in range(2000)]
    assert min(uids) >= 0x70000000
    assert max(uids) < 0x78000000
    assert len(set(uids)) > 1990
