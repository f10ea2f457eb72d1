"""Events: a closed list of kinds."""

from __future__ import annotations

import json

import pytest

from claude_bottle.model import events
from claude_bottle.model.events import EGRESS, KINDS, Event


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_an_event_of_each_kind_survives_its_dictionary_and_json(kind: str) -> None:
    event = Event(kind, {"kind": "in the data", "number": 1})
    assert Event.from_dict(json.loads(json.dumps(event.to_dict()))) == event


def test_every_constant_is_in_the_closed_list() -> None:
    constants = {value for name, value in vars(events).items() if name.isupper() and isinstance(value, str)}
    assert constants == KINDS and EGRESS < KINDS


@pytest.mark.parametrize("kind", ["", "Decision", "decision ", "anything", "\x1b[2J"])
def test_an_unknown_kind_is_refused(kind: str) -> None:
    with pytest.raises(ValueError, match="unknown kind") as caught:
        Event(kind)
    assert "\x1b" not in str(caught.value)


@pytest.mark.parametrize("data", [{}, {"kind": 1}, {"kind": "dns", "data": []}, {"kind": None, "data": {}}])
def test_what_is_no_event_is_refused(data: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="not an event"):
        Event.from_dict(data)
