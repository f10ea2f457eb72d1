"""What a bottle has after its resume: what outlives it, what is finished, what is over."""

from __future__ import annotations

import pytest

from claude_bottle.model.policy import TUNNEL, Rule
from claude_bottle.model.requests import AGENT, APPLIED, EXPIRED, FAILED, ONCE, SESSION, UNTIL
from claude_bottle.supervise.inbox import Inbox
from claude_bottle.supervise.resuming import Resumed, ended, resume
from tests.supervise.making import NOW, approved, egress, granted, inbox, request, tool

LATER = "2027-01-01T00:00:00.000000Z"


def again(box: Inbox, *plan: Rule, expired: tuple[str, ...] = (), now: str = NOW) -> Resumed:
    return resume(box, "1" * 32, plan, expired, lambda: "q-again", now)


@pytest.mark.parametrize(("scope", "stays"), [(ONCE, False), (SESSION, False), (AGENT, True), (UNTIL, True)])
def test_only_until_and_agent_outlive_the_bottle(scope: str, stays: bool) -> None:
    one = request()
    box = granted(inbox(one), one, scope, until=LATER if scope == UNTIL else "")
    assert bool(again(box).inbox.in_force) is stays
    assert bool(ended(box).in_force) is stays


def test_a_tool_stays_with_its_bottle_whatever_its_scope() -> None:
    one = request(tool())
    assert again(granted(inbox(one), one)).inbox.in_force


def test_a_grant_whose_time_is_over_ends() -> None:
    one = request()
    box = granted(inbox(one), one, UNTIL, until=LATER)
    found = again(box, expired=(box.grants[0].id,)).inbox
    assert found.grants[0].ended == "its time is over"


def test_a_grant_that_the_manifest_has_by_now_ends_and_one_it_has_in_part_stays() -> None:
    one = request(egress("crates.io", methods=("GET",)))
    box = granted(inbox(one), one, AGENT)
    assert again(box, Rule("crates.io")).inbox.grants[0].ended == "the manifest has it now"
    assert again(box, Rule("crates.io", methods=("POST",))).inbox.in_force


def test_a_grant_that_contradicts_the_plan_ends_and_says_so() -> None:
    one = request(egress("crates.io", tls=TUNNEL))
    found = again(granted(inbox(one), one, AGENT), Rule("crates.io"))
    assert found.inbox.in_force == ()
    assert "contradicts the plan" in found.notes[0]


def test_what_waited_expires_because_the_bottle_ended() -> None:
    one = request()
    found = again(inbox(one)).inbox.find(one.id)
    assert found is not None
    assert (found.state, found.outcome) == (EXPIRED, "the bottle ended")


@pytest.mark.parametrize("scope", [SESSION, AGENT, UNTIL])
def test_what_was_approved_is_in_force_from_the_boot_exactly_once(scope: str) -> None:
    one = request()
    box = approved(inbox(one), one, scope, until=LATER if scope == UNTIL else "")
    first = again(box)
    assert first.inbox.find(one.id).state == APPLIED  # type: ignore[union-attr]
    assert len(first.inbox.in_force) == 1
    assert "in force now" in first.notes[0]
    second = again(first.inbox)
    assert len(second.inbox.grants) == 1
    assert second.notes == ()


def test_what_was_approved_until_a_time_that_is_over_is_not() -> None:
    one = request()
    box = approved(inbox(one), one, UNTIL, until=LATER)
    found = again(box, now="2027-02-01T00:00:00.000000Z")
    assert found.inbox.find(one.id).state == FAILED  # type: ignore[union-attr]
    assert found.inbox.in_force == ()


def test_an_approved_tool_is_still_to_be_built() -> None:
    one = request(tool())
    assert again(approved(inbox(one), one)).rebuild == (one.id,)


def test_a_resume_is_a_new_launch_and_a_new_revision() -> None:
    box = inbox(request())
    found = again(box).inbox
    assert (found.launch, found.revision > box.revision) == ("1" * 32, True)
