"""Requests in a running keeper: what an agent may bring about by asking, what an operator decides, what the gate is told."""

from __future__ import annotations

import json
import os
import socket
import time
from pathlib import Path
from typing import Any

import pytest

from claude_bottle.errors import BottleError
from claude_bottle.keeper import gate_link, inbox, inbox_file, policy_line
from claude_bottle.keeper.leases import Leases
from claude_bottle.model.policy import TUNNEL, Rule
from claude_bottle.state.record import timestamp
from claude_bottle.supervise.inbox import MAX_OPEN
from claude_bottle.supervise.intake import BURST
from claude_bottle.values import replace
from tests.keeper import orders
from tests.keeper.asked import AGENT, CRATES, Asked, Bottle, asking, host
from tests.waiting import eventually

__all__ = ["asking"]


def refused(bottle: Asked, message: dict[str, Any]) -> BottleError:
    with bottle.kept.control() as control, pytest.raises(BottleError) as found:
        list(control.decide(message))
    return found.value


def hosts(policy: dict[str, Any]) -> list[str]:
    return [rule["host"] for rule in policy["rules"]]


def test_what_is_approved_is_in_force_and_the_agent_is_told(asking: Bottle) -> None:
    bottle = asking(Rule("pypi.org"))
    request = bottle.asked()
    done = bottle.approve(request)
    assert done["state"] == "applied"
    policy = bottle.gate.policies[-1]
    assert hosts(policy) == ["pypi.org", "crates.io"]
    assert policy["rules"][1]["origin"] == f"grant {done['grant']}"
    said = [one for one in bottle.gate.heard if one["op"] == "request" and one["id"] == request]
    assert [one["state"] for one in said] == ["submitted", "approved", "applied"]
    assert "in force now: try again" in said[-1]["text"]


def test_the_journal_says_who_asked_what_and_what_became_of_it(asking: Bottle) -> None:
    bottle = asking()
    request = bottle.asked(reason="look\x1b[2J at\nthis")
    bottle.approve(request)
    asked, decided, granted = bottle.events("asked", "decided", "granted")
    assert asked["data"] == {"id": request, "asks": "egress", "what": ["+ GET  https://crates.io/api/**"], "via": "mcp",
                             "reason": "look\\x1b[2J at\\nthis"}  # fmt: skip
    assert (decided["data"]["decision"], decided["data"]["by"], decided["data"]["scope"]) == (
        "approved",
        "operator",
        "session",
    )
    assert granted["data"]["id"] == request


def test_it_is_approved_on_disk_before_the_gate_hears_of_it_and_applied_after(asking: Bottle) -> None:
    bottle = asking(obedient=False)
    request = bottle.asked()
    with bottle.kept.control() as control:
        shown = control.requests()
        view = shown["requests"][0]  # type: ignore[index]
        control.send(
            {"op": "approve", "id": request, "hash": view["hash"], "revision": shown["revision"], "scope": "session"}
        )
        policy = bottle.gate.next(lambda one: one["op"] == "policy")
        written = json.loads(bottle.state_file().read_text())
        assert [one["state"] for one in written["requests"]] == ["approved"]
        assert written["grants"] == []
        bottle.gate.tell("policy_set", revision=policy["revision"])
        bottle.gate.state(request, "applied")
        written = json.loads(bottle.state_file().read_text())
        assert [one["state"] for one in written["requests"]] == ["applied"]
        assert len(written["grants"]) == 1


def test_equal_requests_are_one_and_all_who_asked_hear_of_it(asking: Bottle) -> None:
    bottle = asking()
    first = bottle.gate.ask(CRATES, ticket="t-1")
    second = bottle.gate.ask(CRATES, ticket="t-2", reason="the same in other words")
    assert first["id"] == second["id"]
    assert len(bottle.requests()["requests"]) == 1


def test_a_wider_request_ends_the_narrower_one_for_those_who_wait(asking: Bottle) -> None:
    bottle = asking()
    narrow = bottle.asked()
    wide = bottle.asked(host("crates.io"), ticket="t-2")
    told = next(
        one for one in bottle.gate.heard if one["op"] == "request" and one["id"] == narrow and one["state"] == "superseded"
    )
    assert wide in told["text"]


@pytest.mark.parametrize(
    "change",
    [host("*"), host("com"), host("169.254.169.254"), host("metadata.google.internal"), host("a.example.com", paths=["x"]),
     host("a.example.com", port=53), host("a\x1b[31m.example.com"), {"kind": "everything"}, None, [], 7, {},
     {"kind": "egress", "rules": []}, {"kind": "capability", "capability": {"apt": ["-o"]}},
     {"kind": "credential", "rule": {"host": "a.example.com", "paths": ["/**"], "credential": "x"}},
     {"kind": "budget", "egress_bytes": 10}, {"kind": "money", "usd": 1}, {"kind": "money", "usd": -1}],
)  # fmt: skip
def test_what_may_not_be_asked_for_is_answered_and_leaves_nothing(asking: Bottle, change: object) -> None:
    bottle = asking()
    answer = bottle.gate.ask(change)
    assert (answer["id"], answer["state"]) == ("", "rejected")
    assert answer["text"].isprintable()
    assert not bottle.state_file().exists()


@pytest.mark.parametrize(
    "message",
    [{"ticket": 7}, {"ticket": "x" * 10_000}, {"ticket": "t-../../x"}, {}, {"ticket": None, "change": CRATES}],
)
def test_a_gate_that_asks_as_no_gate_does_is_not_answered(asking: Bottle, message: dict[str, Any]) -> None:
    bottle = asking()
    bottle.gate.tell("ask", **message)
    bottle.gate.tell("policy_set", revision="x")
    bottle.gate.tell("policy_refused", revision=[], why={})
    bottle.gate.tell("used", grant=[1])
    bottle.gate.tell("used", grant="g-none")
    bottle.gate.tell("spent", egress_bytes=-1)
    assert bottle.gate.ask(CRATES, ticket="t-9", reason=None)["state"] == "submitted"  # type: ignore[arg-type]
    assert len(bottle.requests()["requests"]) == 1


def test_what_is_granted_already_is_not_asked_twice(asking: Bottle) -> None:
    bottle = asking(Rule("crates.io", methods=("GET",)))
    answer = bottle.gate.ask(CRATES)
    assert (answer["id"], answer["text"]) == ("", "This is granted already: try it.")
    request = bottle.asked(host("pypi.org"), ticket="t-2")
    bottle.approve(request)
    again = bottle.gate.ask(host("pypi.org", methods=["GET"]), ticket="t-3")
    assert (again["id"], again["state"]) == (request, "applied")


def test_a_contradiction_with_the_plan_is_said_when_it_is_asked(asking: Bottle) -> None:
    answer = asking(Rule("db.example.com", 5432, tls=TUNNEL)).gate.ask(host("db.example.com", port=5432))
    assert answer["state"] == "rejected"
    assert "tunnel in one rule and inspected in another" in answer["text"]


def test_a_contradiction_that_arises_later_is_said_when_it_is_approved(asking: Bottle) -> None:
    bottle = asking()
    one = bottle.asked(host("db.example.com", port=5432), ticket="t-1")
    other = bottle.asked(host("db.example.com", port=5432, tls="tunnel"), ticket="t-2")
    bottle.approve(one)
    shown = bottle.requests()
    view = bottle.view(other)
    problem = refused(
        bottle, {"op": "approve", "id": other, "hash": view["hash"], "revision": shown["revision"], "scope": "session"}
    )
    assert "contradicts" in problem.what
    assert bottle.view(other)["state"] == "submitted"


@pytest.mark.parametrize("edit", [{"hash": "0" * 64}, {"hash": ""}, {"revision": 99},
                                  {"revision": None}, {"id": "q-other"},
                                  {"scope": "forever"}, {"scope": "until"}, {"scope": "until", "until": "yesterday"},
                                  {"scope": "until", "until": "2020-01-01T00:00:00Z"},
                                  {"scope": "until", "until": "2999-01-01T00:00:00Z"},
                                  {"change": host("crates.io")},
                                  {"change": {"kind": "x"}}, {"hash": 7}, {"credential": "x"}])  # fmt: skip
def test_an_approval_of_anything_but_what_was_shown_does_nothing(asking: Bottle, edit: dict[str, Any]) -> None:
    bottle = asking()
    request = bottle.asked()
    shown = bottle.requests()
    message = {
        "op": "approve",
        "id": request,
        "hash": shown["requests"][0]["hash"],
        "revision": shown["revision"],
        "scope": "session",
    }
    refused(bottle, {**message, **edit})
    assert bottle.view(request)["state"] == "submitted"
    assert bottle.gate.policies == []


def test_of_two_operators_at_once_one_decides_and_the_other_is_told(asking: Bottle) -> None:
    bottle = asking()
    request = bottle.asked()
    with bottle.kept.control() as one, bottle.kept.control() as other:
        shown = one.requests()
        view = shown["requests"][0]  # type: ignore[index]
        other.requests()
        message = {"op": "approve", "id": request, "hash": view["hash"], "revision": shown["revision"], "scope": "session"}
        one.send(message)
        other.send({"op": "reject", "id": request, "hash": view["hash"], "reason": "no"})
        bottle.gate.next(
            lambda said: said["op"] == "request" and said["id"] == request and said["state"] in ("applied", "rejected")
        )
        ends = []
        for control in (one, other):
            try:
                ends.append(control._answer("decided")["request"]["state"])  # type: ignore[index]
            except BottleError as problem:
                ends.append(problem.why)
        assert len([end for end in ends if "already decided" in end]) == 1, ends


def test_a_rejection_tells_the_agent_why(asking: Bottle) -> None:
    bottle = asking()
    request = bottle.asked()
    assert bottle.decide("reject", request, reason="use the\x1b[1m mirror")[0]["state"] == "rejected"
    assert "use the\\x1b[1m mirror" in bottle.gate.state(request, "rejected")["text"]
    assert bottle.gate.policies == []


def test_less_than_asked_is_what_is_granted(asking: Bottle) -> None:
    bottle = asking()
    request = bottle.asked(host("crates.io", "evil.example.com"))
    done = bottle.approve(request, change=host("crates.io", methods=["GET"]))
    assert hosts(bottle.gate.policies[-1]) == ["crates.io"]
    assert bottle.gate.policies[-1]["rules"][0]["methods"] == ["GET"]
    assert done["approved"] == ["+ GET  https://crates.io  any path"]


def test_a_revoked_grant_is_out_of_the_policy_and_named_to_be_cut(asking: Bottle) -> None:
    bottle = asking(Rule("pypi.org"))
    grant = bottle.approve(bottle.asked())["grant"]
    with bottle.kept.control() as control:
        control.send({"op": "revoke", "grant": grant})
        policy = bottle.gate.next(lambda one: one["op"] == "policy" and one["revoked"] == [grant])
        assert hosts(policy) == ["pypi.org"]
        assert control._answer("revoked")["grant"]["ended"] == "revoked by the operator"  # type: ignore[index]
    with bottle.kept.control() as control, pytest.raises(BottleError, match="no grant"):
        control.revoke(grant)
    assert bottle.events("grant_ended")[0]["data"] == {"grant": grant, "why": "revoked by the operator"}


def test_a_once_grant_that_is_used_stays_out(asking: Bottle) -> None:
    bottle = asking()
    grant = bottle.approve(bottle.asked(), "once")["grant"]
    assert bottle.gate.policies[-1]["once"] == [grant]
    bottle.gate.tell("used", grant=grant)
    policy = bottle.gate.next(lambda one: one["op"] == "policy")
    assert (policy["rules"], policy["once"], policy["revoked"]) == ([], [], [])


def test_a_grant_until_a_time_ends_by_itself(asking: Bottle, root: Path) -> None:
    """Its operator has an hour to give it an hour; the clock of its lease says that nearly all of that has gone by."""
    order = orders.order(root, *AGENT)
    leases = Leases(wall=lambda: time.time() + 3599)
    bottle = asking(order=order, inbox=replace(inbox_file.fresh(order.identity), leases=leases))
    done = bottle.approve(bottle.asked(), "until", until=timestamp(time.time() + 3600))
    assert done["state"] == "applied"
    policy = bottle.gate.next(lambda one: one["op"] == "policy" and one["rules"] == [])
    assert policy["revoked"] == [done["grant"]]
    eventually(lambda: bottle.events("grant_ended"))
    assert bottle.events("grant_ended")[0]["data"]["why"] == "its time is over"


def test_a_policy_that_the_gate_refuses_is_failed_and_taken_back(asking: Bottle) -> None:
    bottle = asking(obedient=False)
    request = bottle.asked()
    with bottle.kept.control() as control:
        shown = control.requests()
        view = shown["requests"][0]  # type: ignore[index]
        control.send(
            {"op": "approve", "id": request, "hash": view["hash"], "revision": shown["revision"], "scope": "session"}
        )
        policy = bottle.gate.next(lambda one: one["op"] == "policy")
        bottle.gate.tell("policy_refused", revision=policy["revision"], why="nothing \x1b listens")
        back = bottle.gate.next(lambda one: one["op"] == "policy")
        assert back["rules"] == []
        bottle.gate.tell("policy_set", revision=back["revision"])
        assert "nothing \\x1b listens" in bottle.gate.state(request, "failed")["text"]
    assert bottle.requests()["grants"] == []


def test_a_gate_that_never_says_that_it_is_in_force_is_not_believed_and_ended(
    asking: Bottle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(policy_line, "ANSWER_SECONDS", 0.3)
    bottle = asking(obedient=False)
    request = bottle.asked()
    bottle.approve(request)
    assert bottle.view(request)["state"] == "failed"
    with bottle.kept.control() as control:
        eventually(lambda: control.status()["gate"] == "down")


def test_a_new_port_has_its_listener_before_its_policy(asking: Bottle) -> None:
    with socket.socket() as ours:  # as long as it is not listened on, only who says the same may have it, too
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        ours.bind(("127.0.0.1", 0))
        port = ours.getsockname()[1]
        bottle = asking()
        request = bottle.asked(host("db.example.com", port=port, tls="tunnel"))
        assert f"a new port: {port} is opened in the bottle" in bottle.view(request)["warnings"]
        bottle.approve(request)
    ops = [one["op"] for one in bottle.gate.heard]
    assert ops.index("listener") < ops.index("policy")
    assert bottle.gate.listeners[0].getsockname()[1] == port


def test_a_port_that_cannot_be_opened_fails_and_says_why(asking: Bottle) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        bottle = asking()
        request = bottle.asked(host("db.example.com", port=taken.getsockname()[1], tls="tunnel"))
        bottle.approve(request)
    assert "cannot open port" in bottle.view(request)["outcome"]


def test_a_flood_costs_neither_disk_nor_journal_and_hides_nobody(asking: Bottle) -> None:
    bottle, quiet = asking(), asking()
    other = quiet.asked()
    answers = [
        bottle.gate.ask(host(f"h{number}.example.com"), ticket=f"t-{number:x}", reason="x" * 5000) for number in range(400)
    ]
    taken = [one for one in answers if one["state"] == "submitted"]
    assert BURST <= len(taken) <= MAX_OPEN
    assert all("too many requests" in one["text"] for one in answers if one["state"] == "rejected")
    assert bottle.state_file().stat().st_size < MAX_OPEN * 8000
    assert len(bottle.events("asked")) <= MAX_OPEN + 2
    assert any(one["data"].get("refused") for one in bottle.events("asked"))
    assert [one["id"] for one in quiet.requests()["requests"]] == [other]
    assert quiet.approve(other)["state"] == "applied"
    assert bottle.approve(str(taken[0]["id"]))["state"] == "applied"


def test_what_cannot_be_written_is_not_taken_and_not_approved(asking: Bottle) -> None:
    bottle = asking()
    bottle.state_file().mkdir()
    assert "cannot write" in bottle.gate.ask(CRATES)["text"]
    assert bottle.requests()["requests"] == []
    bottle.state_file().rmdir()
    request = bottle.asked(ticket="t-2")
    shown = bottle.requests()
    os.unlink(bottle.state_file())
    bottle.state_file().mkdir()
    message = {
        "op": "approve",
        "id": request,
        "hash": shown["requests"][0]["hash"],
        "revision": shown["revision"],
        "scope": "session",
    }
    assert "cannot write" in refused(bottle, message).what
    assert bottle.gate.policies == []
    bottle.state_file().rmdir()
    assert bottle.approve(request)["state"] == "applied"


def test_a_grant_is_revoked_even_when_that_cannot_be_written(asking: Bottle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inbox, "RETRY_SECONDS", 0.1)
    bottle = asking()
    grant = bottle.approve(bottle.asked())["grant"]
    os.unlink(bottle.state_file())
    bottle.state_file().mkdir()
    with bottle.kept.control() as control:
        control.send({"op": "revoke", "grant": grant})
        assert bottle.gate.next(lambda one: one["op"] == "policy")["rules"] == []
    bottle.state_file().rmdir()
    eventually(lambda: bottle.state_file().is_file())
    assert json.loads(bottle.state_file().read_text())["grants"][0]["ended"]


def test_whoever_follows_is_told_of_every_change(asking: Bottle) -> None:
    bottle = asking()
    with bottle.kept.control() as control:
        following = control.follow_requests()
        assert next(following)["requests"] == []
        request = bottle.asked()
        assert next(following)["requests"][0]["id"] == request  # type: ignore[index]
        bottle.decide("reject", request)
        assert next(following)["requests"][0]["state"] == "rejected"  # type: ignore[index]


def test_an_operator_whose_dashboard_is_gone_has_decided_nothing(asking: Bottle) -> None:
    bottle = asking()
    with bottle.kept.control() as control:
        following = control.follow_requests()
        assert next(following)["requests"] == []
        request = bottle.asked()
        assert next(following)["requests"][0]["state"] == "submitted"  # type: ignore[index]
    assert [one["state"] for one in bottle.requests()["requests"]] == ["submitted"]
    assert bottle.approve(request)["state"] == "applied"


def test_the_operator_may_grant_on_their_own_by_the_same_way(asking: Bottle) -> None:
    bottle = asking()
    with bottle.kept.control() as control:
        revision = control.requests()["revision"]
        control.send({"op": "grant", "change": CRATES, "scope": "session", "revision": revision})
        assert hosts(bottle.gate.next(lambda one: one["op"] == "policy")) == ["crates.io"]
        assert control._answer("decided")["request"]["via"] == "operator"  # type: ignore[index]
    problem = refused(
        bottle, {"op": "grant", "change": host("*"), "scope": "session", "revision": bottle.requests()["revision"]}
    )
    assert "cannot be asked for" in problem.what


def test_what_waits_when_a_bottle_ends_is_over_and_session_grants_with_it(
    asking: Bottle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gate_link, "_STOP_SECONDS", 0.5)  # nobody plays the gate meanwhile
    bottle = asking(keep=True)
    bottle.approve(bottle.asked())
    waiting = bottle.asked(host("pypi.org"), ticket="t-2")
    with bottle.kept.control() as control:
        control.stop(5.0, keep=True)
        assert control.settled() is not None
    written = json.loads(bottle.state_file().read_text())
    assert [one["state"] for one in written["requests"] if one["id"] == waiting] == ["expired"]
    assert [one["ended"] for one in written["grants"]] == ["the bottle ended"]


def test_a_bottle_that_nobody_asks_in_has_no_file(asking: Bottle) -> None:
    bottle = asking()
    assert bottle.requests()["requests"] == []
    assert not bottle.state_file().exists()


@pytest.mark.parametrize("size", [0o600])
def test_the_file_is_the_operators_alone(asking: Bottle, size: int) -> None:
    bottle = asking()
    bottle.asked()
    assert Path(bottle.state_file()).stat().st_mode & 0o777 == size
