"""What an operator is told of a live directory while a bottle has it."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from claude_bottle.keeper import live_changes
from claude_bottle.keeper.live_watch import LiveWatch
from claude_bottle.keeper.loop import Loop


def test_no_number_of_long_names_keeps_a_repository_from_being_told(tmp_path: Path) -> None:
    (place := tmp_path / "place").mkdir()
    live_changes.save(tmp_path / "note", place, frozenset())
    note = live_changes.load(tmp_path / "note")
    assert note is not None
    deep = os.path.join(os.fsencode(place), *[b"\xff" * 250] * 12)
    os.makedirs(deep)
    for number in range(1100):  # more than 16 MiB of JSON
        os.close(os.open(os.path.join(deep, b"Makefile%d" % number), os.O_CREAT))
    (place / "sub/.git").mkdir(parents=True)
    loop, faults, titles, recorded = Loop(), list[str](), list[str](), list[Any]()

    def fault(what: str, **_: object) -> None:
        faults.append(what)
        loop.stop()

    def stand(title: str) -> None:
        titles.append(title)
        loop.stop()

    audit = SimpleNamespace(fault=fault, record=lambda _kind, changed: recorded.append(changed))
    order, booted = SimpleNamespace(identity="docs-aaaaaa"), SimpleNamespace(loop=loop, audit=audit)
    watch = LiveWatch(cast("Any", order), cast("Any", booted), note, stand)
    loop.run()
    watch.finish()
    loop.close()
    assert not faults
    assert titles == ["docs-aaaaaa: look before you use git here: sub/.git (new)"]
    assert list(recorded[0]) == [live_changes.REPOSITORY, "make"]
