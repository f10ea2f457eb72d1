"""The life of requests: what coalesces, supersedes, is bounded, and that nothing but what was shown is approved."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, rule

from claude_bottle.errors import BottleError
from claude_bottle.model.changes import EgressChange
from claude_bottle.model.policy import TUNNEL, Rule
from claude_bottle.model.requests import APPLIED, APPROVED, FAILED, ONCE, SUBMITTED, SUPERSEDED, BadMove, new_launch_id
from claude_bottle.supervise import inbox as inboxes
from claude_bottle.supervise.composition import compose, granted_already, problems
from claude_bottle.supervise.decision import Decision, check, check_shown
from claude_bottle.supervise.inbox import MAX_ENDED, MAX_OPEN, MAX_REMEMBERED, Inbox
from claude_bottle.supervise.resuming import resume
from tests.supervise.making import BOTTLE, LAUNCH, NOW, approved, egress, granted, inbox, request, tool


def refusal(box: Inbox, decision: Decision) -> str:
    with pytest.raises(BottleError) as refused:
        check(box, decision)
    return f"{refused.value.what}: {refused.value.why}"


def test_an_equal_open_request_is_found_and_a_closed_one_is_not() -> None:
    one = request(egress("crates.io"))
    box = inbox(one)
    assert box.equal_to(egress("crates.io")) == one
    assert box.equal_to(egress("pypi.org")) is None
    assert box.reject(one.id, "no", NOW).equal_to(egress("crates.io")) is None


def test_a_wider_request_supersedes_what_asks_for_less() -> None:
    narrow, wide = request(egress("crates.io", methods=("GET",))), request(egress("crates.io"))
    box = inbox(narrow, wide)
    assert box.find(narrow.id).state == SUPERSEDED  # type: ignore[union-attr]
    assert wide.id in box.find(narrow.id).outcome  # type: ignore[union-attr]
    assert [one.id for one in box.waiting] == [wide.id]


def test_a_narrower_request_waits_beside_a_wider_one() -> None:
    assert len(inbox(request(egress("crates.io")), request(egress("crates.io", methods=("GET",)))).waiting) == 2


def test_so_many_may_wait_and_no_more() -> None:
    box = inbox(*(request(egress(f"h{number}.example.com")) for number in range(MAX_OPEN)))
    with pytest.raises(BottleError, match="too many requests"):
        box.submit(request(egress("another.example.com")))
    assert len(box.waiting) == MAX_OPEN


def test_what_is_closed_is_forgotten_oldest_first_but_for_what_is_in_force() -> None:
    kept = request(egress("kept.example.com"))
    box = granted(inbox(kept), kept)
    for number in range(MAX_REMEMBERED + 20):
        one = request(egress(f"h{number}.example.com"))
        box = box.submit(one).reject(one.id, "no", NOW)
    assert len(box.requests) <= MAX_REMEMBERED
    assert box.find(kept.id)
    assert box.requests[-1].id == one.id


def test_what_is_remembered_has_a_weight(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inboxes, "MAX_WEIGHT", 20_000)
    box = inbox()
    for number in range(40):
        one = request(egress(f"h{number}.example.com"), reason="x" * 2000)
        box = box.submit(one).reject(one.id, "no", NOW)
    assert len(box.requests) < 10


def test_ended_grants_are_forgotten_too() -> None:
    box = inbox()
    for number in range(MAX_ENDED + 10):
        one = request(egress(f"h{number}.example.com"))
        box = granted(box.submit(one), one)
        box = box.end_grants({box.grants[-1].id: "revoked"})
    assert len(box.grants) == MAX_ENDED


def test_an_approval_of_what_was_shown_passes() -> None:
    one = request()
    assert check(inbox(one), Decision(one.id, one.hash, 1, "session")) == one


@pytest.mark.parametrize(
    ("changed", "why"),
    [({"hash": "0" * 64}, "not what was shown"), ({"revision": 7}, "has changed since"),
     ({"request": "q-other"}, "no request"),
     ({"scope": "forever"}, "no scope"), ({"scope": "until"}, "a time goes with"), ({"until": NOW}, "a time goes with"),
     ({"change": egress("evil.example.com")}, "only what was asked"),
     ({"credential": "github"}, "goes with a request for one")],
)  # fmt: skip
def test_an_approval_of_anything_else_is_refused(changed: dict[str, Any], why: str) -> None:
    one = request()
    fields = {"request": one.id, "hash": one.hash, "revision": 1, "scope": "session"} | changed
    assert why in refusal(inbox(one), Decision(**fields))


def test_the_second_operator_is_told_that_it_is_decided() -> None:
    one = request()
    box = inbox(one)
    decision = Decision(one.id, one.hash, box.revision, "session")
    assert "already decided" in refusal(approved(box, one), decision)
    assert "already decided: rejected (no)" in refusal(box.reject(one.id, "no", NOW), decision)


def test_a_request_of_another_launch_of_the_same_bottle_is_another_one() -> None:
    old, new = (request(number=1, launch=launch) for launch in (LAUNCH, new_launch_id()))
    assert old.hash != new.hash
    with pytest.raises(BottleError, match="not what was shown"):
        check_shown(inbox(old), new.id, new.hash)


def test_an_approval_may_be_narrower_and_that_is_what_is_granted() -> None:
    one = request(egress("crates.io", "pypi.org"))
    less = egress("crates.io", methods=("GET",))
    box = granted(inbox(one), one, change=less)
    assert box.grants[0].change == less
    assert [found.host for found in compose((), box.in_force)] == ["crates.io"]


def test_each_change_of_what_is_in_force_is_a_new_revision() -> None:
    one, other = request(egress("crates.io")), request(egress("pypi.org"))
    box = inbox(one, other)
    shown = box.revision
    box = approved(box, one)
    assert "has changed since" in refusal(box, Decision(other.id, other.hash, shown, "session"))
    ended = box.applied(one.id, "", NOW).end_grants({box.applied(one.id, "", NOW).grants[0].id: "revoked"})
    assert ended.revision > box.revision
    assert ended.in_force == ()


def test_a_tool_is_granted_for_the_bottle_or_the_agent_only() -> None:
    one = request(tool())
    assert "cannot be granted once" in refusal(inbox(one), Decision(one.id, one.hash, 1, ONCE))


def test_a_conflict_with_the_plan_is_told_and_none_is_made() -> None:
    plan = [Rule("crates.io", methods=("GET",))]
    assert "tunnel" in problems(plan, (), egress("crates.io", tls=TUNNEL))[0]
    assert problems(plan, (), egress("crates.io", methods=("POST",))) == []


def test_what_is_granted_already_is_known_unless_it_is_one_use() -> None:
    plan = [Rule("crates.io", methods=("GET", "POST"), paths=tuple(f"/{number}" for number in range(30)))]
    assert granted_already(plan, (), egress("crates.io", methods=("GET",), paths=("/3",)))
    assert not granted_already(plan, (), egress("crates.io", methods=("GET",), paths=("/99",)))
    one = request(egress("pypi.org"))
    assert not granted_already((), granted(inbox(one), one, ONCE).grants, egress("pypi.org"))


def test_an_inbox_is_what_it_was_after_a_file() -> None:
    one, other = request(tool()), request(egress("a.example.com", paths=("/x",)))
    box = granted(
        inbox(one, other), other, "until", until="2027-01-01T00:00:00Z", change=egress("a.example.com", paths=("/x",))
    )
    assert Inbox.from_dict(BOTTLE, box.to_dict()) == box


@pytest.mark.parametrize("edit", [
    {"revision": 0}, {"revision": "1"}, {"launch": 3}, {"requests": {}}, {"grants": [1]}, {"requests": [{"id": "q-1"}]},
])  # fmt: skip
def test_a_file_that_makes_no_sense_is_refused(edit: dict[str, object]) -> None:
    with pytest.raises(ValueError):
        Inbox.from_dict(BOTTLE, {**inbox(request()).to_dict(), **edit})


def test_a_file_of_another_bottle_or_with_a_twin_is_refused() -> None:
    data = inbox(request()).to_dict()
    with pytest.raises(ValueError, match="another bottle"):
        Inbox.from_dict("other-abcdef", data)
    with pytest.raises(ValueError, match="two of one id"):
        Inbox.from_dict(BOTTLE, {**data, "requests": [*data["requests"], *data["requests"]]})  # type: ignore[misc]


class Life(RuleBasedStateMachine):
    """Agents ask, operators decide with what they saw at some time, keepers crash at any step and boot again. What is on
    disk is what an inbox was before or after a step, never between."""

    ids = Bundle("ids")

    @initialize()
    def begin(self) -> None:
        self.box = Inbox(BOTTLE, LAUNCH)
        self.approvals: dict[str, int] = {}
        self.seen: list[tuple[str, str, int]] = []
        self.granted: dict[str, int] = {}

    @rule(target=ids, host=st.sampled_from("abcd"), wide=st.booleans())
    def ask(self, host: str, wide: bool) -> str:
        change = egress(f"{host}.example.com", methods=() if wide else ("GET",))
        one = request(change, launch=self.box.launch)
        if self.box.equal_to(change) is None:
            self.box = self.box.submit(one)
        return one.id

    @rule(one=ids)
    def look(self, one: str) -> None:
        found = self.box.find(one)
        if found:
            self.seen.append((found.id, found.hash, self.box.revision))

    @rule(at=st.integers(0, 30), scope=st.sampled_from(["once", "session", "agent"]))
    def approve(self, at: int, scope: str) -> None:
        """What was seen at some time, perhaps again."""
        if not self.seen:
            return
        decision = Decision(*self.seen[at % len(self.seen)], scope)
        try:
            check(self.box, decision)
        except BottleError:
            return
        self.box = self.box.approve(decision, f"g-{decision.request[2:]}", NOW)
        self.approvals[decision.request] = self.approvals.get(decision.request, 0) + 1

    @rule(one=ids, how=st.sampled_from(["applied", "failed", "rejected", "expired"]))
    def move(self, one: str, how: str) -> None:
        """Also out of order and twice."""
        try:
            match how:
                case "applied":
                    self.box = self.box.applied(one, "", NOW)
                case "failed":
                    self.box = self.box.failed(one, "")
                case "rejected":
                    self.box = self.box.reject(one, "", NOW)
                case _:
                    self.box = self.box.expire(one, "")
        except (BottleError, BadMove):
            pass

    @rule(at=st.integers(0, 10))
    def revoke(self, at: int) -> None:
        if self.box.grants:
            self.box = self.box.end_grants({self.box.grants[at % len(self.box.grants)].id: "revoked"})

    @rule()
    def crash(self) -> None:
        on_disk = Inbox.from_dict(BOTTLE, self.box.to_dict())
        ids = iter(f"q-again{self.box.revision}x{number}" for number in range(100))
        self.box = resume(on_disk, new_launch_id(), (), (), lambda: next(ids), NOW).inbox

    @invariant()
    def applied_only_after_one_approval(self) -> None:
        for one in self.box.requests:
            if one.state in (APPROVED, APPLIED):
                assert self.approvals.get(one.id) == 1
            elif one.state == SUBMITTED:
                assert one.id not in self.approvals

    @invariant()
    def one_grant_for_one_applied_request(self) -> None:
        assert len({one.request for one in self.box.grants}) == len(self.box.grants)
        for one in self.box.grants:
            found = self.box.find(one.request)
            assert found is None or (found.state == APPLIED and found.grant == one.id)
        for one in self.box.requests:
            assert one.state != APPLIED or any(found.request == one.id for found in self.box.grants)

    @invariant()
    def a_grant_that_ended_stays_ended(self) -> None:
        ended = {one.id for one in self.box.grants if one.ended}
        assert getattr(self, "ended", set()) <= ended | (getattr(self, "ended", set()) - {one.id for one in self.box.grants})
        self.ended = ended

    @invariant()
    def what_is_in_force_was_asked_for(self) -> None:
        for one in compose((), self.box.in_force):
            assert one.origin.startswith("grant g-")


TestLife = Life.TestCase


def test_a_once_that_may_have_been_used_is_asked_for_again() -> None:
    one = request()
    found = resume(approved(inbox(one), one, ONCE), new_launch_id(), (), (), lambda: "q-again", NOW)
    assert found.inbox.find(one.id).state == FAILED  # type: ignore[union-attr]
    assert [(again.id, again.launch) for again in found.inbox.waiting] == [("q-again", found.inbox.launch)]
    assert "waits for a decision again" in found.notes[0]
    assert found.inbox.in_force == ()


def test_a_change_of_many_rules_is_one_egress() -> None:
    assert isinstance(egress("a.example.com", "b.example.com"), EgressChange)
