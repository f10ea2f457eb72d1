"""A keeper that is killed at any step between a request and its grant: afterwards it is in force exactly once, or waits."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from claude_bottle.errors import BottleError
from claude_bottle.gate.config import GateConfig
from claude_bottle.keeper import inbox_file
from claude_bottle.keeper.inbox_file import Carried, carry
from claude_bottle.keeper.interrupted import settle_interrupted
from claude_bottle.keeper.leases import Leases
from claude_bottle.model.policy import Rule
from claude_bottle.state.damage import Damaged
from claude_bottle.state.lock import IdentityLock
from claude_bottle.state.record import NewerSchema, boot_id, timestamp
from claude_bottle.state.store import Store
from claude_bottle.supervise.composition import compose
from tests.keeper import orders
from tests.keeper.asked import AGENT, CRATES, Asked, Bottle, asking, host
from tests.supervise.making import BOTTLE, NOW, approved, granted, inbox, request

__all__ = ["asking"]


def crash(bottle: Asked) -> None:
    signal.pidfd_send_signal(bottle.kept.pidfd, signal.SIGKILL)
    assert bottle.kept.gone()


def resumed(asking: Bottle, bottle: Asked, *rules: Rule) -> Asked:
    """As `resume` does it: settle, carry, compose, boot."""
    paths = bottle.kept.order.paths
    record = settle_interrupted(paths, bottle.identity)
    IdentityLock(paths, bottle.identity).acquire()
    carried = carry(paths, bottle.identity, rules)
    order = orders.for_record(paths, Store(paths).load(bottle.identity), *AGENT, former=record, inbox=carried)
    config = GateConfig("tester", compose(rules, carried.inbox.in_force))
    return asking(*rules, order=order, gate=config)


def send_approval(bottle: Asked, request: str, scope: str) -> None:
    shown = bottle.requests()
    with bottle.kept.control() as control:
        control.send({"op": "approve", "id": request, "hash": shown["requests"][0]["hash"], "revision": shown["revision"],
                      "scope": scope})  # fmt: skip
        bottle.gate.next(lambda one: one["op"] == "policy")


def test_a_request_that_waited_has_expired_and_can_be_asked_again(asking: Bottle) -> None:
    bottle = asking()
    waiting = bottle.asked()
    crash(bottle)
    after = resumed(asking, bottle)
    assert after.view(waiting)["state"] == "expired"
    assert after.asked() != waiting


@pytest.mark.parametrize("scope", ["session", "agent"])
def test_what_was_approved_and_not_yet_applied_is_in_force_from_boot_once(asking: Bottle, scope: str) -> None:
    bottle = asking(Rule("pypi.org"), obedient=False)
    one = bottle.asked()
    send_approval(bottle, one, scope)
    crash(bottle)
    after = resumed(asking, bottle, Rule("pypi.org"))
    assert [rule.host for rule in after.kept.order.gate.rules] == ["pypi.org", "crates.io"]  # type: ignore[union-attr]
    assert after.view(one)["state"] == "applied"
    assert len(after.requests()["grants"]) == 1
    assert any("in force now" in str(event["data"].get("what")) for event in after.events("decided"))
    crash(after)
    again = resumed(asking, after, Rule("pypi.org"))
    assert len(again.requests()["grants"]) == 1
    assert bool(again.kept.order.gate.rules[1:]) is (scope == "agent")  # type: ignore[union-attr]


def test_a_once_that_was_approved_and_may_have_been_used_waits_again(asking: Bottle) -> None:
    bottle = asking(obedient=False)
    one = bottle.asked()
    send_approval(bottle, one, "once")
    crash(bottle)
    after = resumed(asking, bottle)
    assert after.kept.order.gate.rules == ()  # type: ignore[union-attr]
    waiting = [view for view in after.requests()["requests"] if view["state"] == "submitted"]
    assert waiting[0]["lines"] == ["+ GET  https://crates.io/api/**"]
    assert waiting[0]["id"] in after.view(one)["outcome"]
    assert after.approve(waiting[0]["id"], "once")["state"] == "applied"


@pytest.mark.parametrize(("scope", "stays"), [("session", False), ("agent", True)])
def test_a_grant_that_was_applied_is_there_again_only_if_it_outlives_its_bottle(
    asking: Bottle, scope: str, stays: bool
) -> None:
    bottle = asking()
    bottle.approve(bottle.asked(), scope)
    crash(bottle)
    after = resumed(asking, bottle)
    assert bool(after.kept.order.gate.rules) is stays  # type: ignore[union-attr]


def test_an_approval_of_the_launch_before_means_nothing_now(asking: Bottle) -> None:
    bottle = asking()
    bottle.asked()
    shown = bottle.requests()["requests"][0]
    crash(bottle)
    after = resumed(asking, bottle)
    after.asked()
    for revision in (1, 2, 3):
        message = {"op": "approve", "id": shown["id"], "hash": shown["hash"], "revision": revision, "scope": "session"}
        with after.kept.control() as control, pytest.raises(BottleError, match="not what was shown"):
            list(control.decide(message))
    assert after.gate.policies == []


def test_a_resumed_grant_can_be_revoked(asking: Bottle) -> None:
    bottle = asking()
    grant = bottle.approve(bottle.asked(), "agent")["grant"]
    crash(bottle)
    after = resumed(asking, bottle)
    with after.kept.control() as control:
        control.send({"op": "revoke", "grant": grant})
        assert after.gate.next(lambda one: one["op"] == "policy")["rules"] == []


def test_each_step_leaves_a_file_that_the_next_boot_understands(root: Path) -> None:
    """What is on disk at any crash is what some step wrote, whole (`write_atomic`)."""
    order = orders.order(root, *AGENT)
    one, other = request(), request(host_change())
    first = inbox(one, other)
    second = approved(first, one, "agent")
    for box in (first, second, second.applied(one.id, "", NOW), granted(first, one, "agent").reject(other.id, "", NOW)):
        moved = rename(box.to_dict(), order.identity)
        write(order.paths.requests(order.identity), moved)
        carried = carry(order.paths, order.identity, ())
        assert len(carried.inbox.in_force) == (0 if box is first else 1)


def host_change() -> Any:
    from claude_bottle.supervise.intake import change_of

    return change_of(host("pypi.org"), ())


def rename(data: dict[str, Any], bottle: str) -> dict[str, Any]:
    return json.loads(json.dumps({"schema": 1, **data}).replace(BOTTLE, bottle))  # type: ignore[no-any-return]


def write(path: Path, data: object) -> None:
    path.write_text(json.dumps(data))
    path.chmod(0o600)


@pytest.mark.parametrize(
    ("damage", "error"),
    [({"schema": 2}, NewerSchema), ({"schema": None}, Damaged), ({"revision": -1}, Damaged), ({"requests": [{}]}, Damaged),
     ({"grants": [{"id": "g", "change": {"kind": "egress", "rules": [{"host": "*"}]}}]}, Damaged),
     ({"requests": [{"change": {"kind": "capability", "capability": {"apt": ["-x"]}}}]}, Damaged)],
)  # fmt: skip
def test_a_file_that_cannot_be_trusted_is_refused_and_kept(
    root: Path, damage: dict[str, Any], error: type[BottleError]
) -> None:
    order = orders.order(root, *AGENT)
    path = order.paths.requests(order.identity)
    write(path, {"schema": 1, **inbox().to_dict(), **damage})
    before = path.read_bytes()
    with pytest.raises(error):
        carry(order.paths, order.identity, ())
    assert path.read_bytes() == before


def test_a_file_that_is_a_link_or_open_to_others_is_refused(root: Path, tmp_path: Path) -> None:
    order = orders.order(root, *AGENT)
    path = order.paths.requests(order.identity)
    write(tmp_path / "elsewhere", {"schema": 1, **inbox().to_dict()})
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(Damaged):
        carry(order.paths, order.identity, ())
    path.unlink()
    write(path, {"schema": 1, **inbox().to_dict()})
    path.chmod(0o666)
    with pytest.raises(Damaged):
        carry(order.paths, order.identity, ())


def until(root: Path, seconds: float, *, boot: str | None = None, due: float | None = None, made: str = NOW) -> Carried:
    """What a resume carries of a grant until so many seconds from now by the wall, saved in this boot or another."""
    import time

    order = orders.order(root, *AGENT)
    one = request()
    box = granted(inbox(one), one, "until", until=timestamp(time.time() + seconds))
    data = rename(box.to_dict(), order.identity)
    data["grants"][0]["created"] = made
    clock = {"boot": boot or boot_id(), "due": {} if due is None else {data["grants"][0]["id"]: due}}
    write(order.paths.requests(order.identity), {**data, "clock": clock})
    return carry(order.paths, order.identity, ())


def test_a_lease_goes_on_by_the_clock_of_this_boot_whatever_the_wall_says(root: Path) -> None:
    import time

    now = time.clock_gettime(time.CLOCK_BOOTTIME)
    assert until(root, -1000, due=now + 500).inbox.in_force  # the wall was set forward
    assert not until(root, +1000, due=now - 1).inbox.in_force  # the wall was set back


def test_after_another_boot_only_the_wall_is_left_and_one_that_was_set_back_ends_it(root: Path) -> None:
    import time

    now = time.clock_gettime(time.CLOCK_BOOTTIME)
    assert until(root, +1000, boot="another", due=now - 500).inbox.in_force
    assert not until(root, -1, boot="another", due=now + 500).inbox.in_force
    assert not until(root, +1000, boot="another", made=timestamp(time.time() + 400)).inbox.in_force


def test_a_lease_in_force_does_not_hear_of_the_wall() -> None:
    wall, clock = [1000.0], [50.0]
    leases = Leases(lambda: clock[0], lambda: wall[0])
    leases.until("g-1", timestamp(1060.0))
    wall[0] += 365 * 86400
    assert leases.over() == []
    clock[0] += 61
    assert leases.over() == ["g-1"]


def test_nothing_is_written_for_a_bottle_without_requests_by_a_resume(asking: Bottle) -> None:
    bottle = asking()
    crash(bottle)
    after = resumed(asking, bottle)
    assert not inbox_file.exists(after.kept.order.paths, after.identity)
    assert os.path.exists(after.kept.order.paths.record(after.identity))
    assert after.asked(CRATES)
