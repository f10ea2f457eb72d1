"""Deciding from the command line: what may be said, and what is shown before anything is asked."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given

from claude_bottle.errors import BottleError, Refused, UsageError
from claude_bottle.model.changes import Change, narrower, stored
from claude_bottle.redact import columns
from claude_bottle.state.record import unix_time
from claude_bottle.supervise.cautions import Surroundings
from claude_bottle.supervise.render import view
from claude_bottle.workflow.approvals import with_approvals
from claude_bottle.workflow.asked_text import grant_text, request_text
from claude_bottle.workflow.decide import chosen_scope, demand_hash, moment
from claude_bottle.workflow.kept_grants import kept_grants, revoke_kept
from claude_bottle.workflow.listing import listing
from claude_bottle.workflow.narrowing import Narrowing, narrowed
from tests.keeper import orders
from tests.supervise.making import BOTTLE, changes, egress, granted, inbox, request, tool

ASKED = egress("crates.io", "pypi.org").to_dict()


@pytest.mark.parametrize(("text", "seconds"), [("2h", 7200), ("30m", 1800), ("3d", 259200), ("90s", 90), (" 1 h ", 3600)])
def test_a_span_is_counted_from_now(text: str, seconds: int) -> None:
    assert moment(text) == pytest.approx(time.time() + seconds, abs=60)


def test_a_time_of_day_is_the_next_one() -> None:
    before = time.time()
    at = moment("00:00")
    assert at is not None
    assert before < at <= time.time() + 25 * 3600


@pytest.mark.parametrize(
    ("now", "said", "next_one"),
    [("2026-10-24T22:30Z", "00:10", "2026-10-25T23:10Z"),  # the day that begins has 25 hours
     ("2026-10-25T22:50Z", "23:40", "2026-10-26T22:40Z"), ("2026-03-29T21:50Z", "23:40", "2026-03-30T21:40Z"),
     ("2026-12-31T22:59:59Z", "00:00", "2026-12-31T23:00Z"), ("2026-12-31T23:00Z", "00:00", "2027-01-01T23:00Z")],
)  # fmt: skip
def test_a_time_of_day_is_the_clocks_where_days_have_other_than_24_hours(
    now: str, said: str, next_one: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TZ", "CET-1CEST,M3.5.0,M10.5.0/3")
    time.tzset()
    try:
        monkeypatch.setattr(time, "time", lambda: unix_time(now))
        assert moment(said) == unix_time(next_one)
    finally:
        monkeypatch.undo()
        time.tzset()


def test_a_date_and_a_moment_are_what_they_say() -> None:
    assert moment("2030-01-02T03:04:05Z") == unix_time("2030-01-02T03:04:05+00:00")
    assert moment("2030-01-02") is not None


@pytest.mark.parametrize("text", ["", "soon", "25:00", "-2h", "0h", "2 weeks", "٢h"])
def test_what_is_no_time_is_none(text: str) -> None:
    assert moment(text) is None


@pytest.mark.parametrize(("scope", "until"), [("session", "2h"), ("until", ""), ("", "soon"), ("once", "18:00")])
def test_scopes_and_times_that_do_not_go_together_are_refused(scope: str, until: str) -> None:
    with pytest.raises(UsageError):
        chosen_scope(scope, until)


def test_without_a_word_it_is_the_session() -> None:
    assert chosen_scope("", "") == ("session", "")
    assert chosen_scope("", "2h")[0] == "until"


@pytest.mark.parametrize(
    ("wish", "hosts"),
    [(Narrowing(only=(2,)), ["pypi.org"]), (Narrowing(hosts=("crates.io",)), ["crates.io"]),
     (Narrowing(methods=("GET",)), ["crates.io", "pypi.org"]), (Narrowing(only=(1,), paths=("/a",)), ["crates.io"]),
     (Narrowing(only=(1,), paths=("/api/v1/**", "/api/*/x")), ["crates.io"])],
)  # fmt: skip
def test_less_is_what_is_left(wish: Narrowing, hosts: list[str]) -> None:
    found: Any = narrowed(ASKED, wish)
    assert [rule["host"] for rule in found["rules"]] == hosts
    assert narrower(stored(found), stored(ASKED))
    assert wish.methods in ((), tuple(found["rules"][0]["methods"]))


@pytest.mark.parametrize(
    ("asked", "wish"),
    [(ASKED, Narrowing(only=(3,))), (ASKED, Narrowing(hosts=("evil.example.com",))), (ASKED, Narrowing(egress_bytes=5)),
     (egress("crates.io", methods=("GET",)).to_dict(), Narrowing(methods=("POST",))),
     (egress("crates.io", paths=("/a/**",)).to_dict(), Narrowing(paths=("/**",))),
     (egress("crates.io", paths=("/a/*/b",)).to_dict(), Narrowing(paths=("/a/**/b",))),
     (egress("crates.io", paths=("/a/*",)).to_dict(), Narrowing(paths=("/a/x**",))),
     (ASKED, Narrowing(paths=("no slash",))), (tool().to_dict(), Narrowing(only=(1,)))],
)  # fmt: skip
def test_more_or_something_else_is_refused(asked: object, wish: Narrowing) -> None:
    with pytest.raises(UsageError):
        narrowed(asked, wish)


def test_a_pattern_within_one_that_was_asked_for_is_less() -> None:
    asked, wish = egress("crates.io", paths=("/api/**", "/v/*")).to_dict(), ("/api/v1/*", "/api/*/x/**", "/v/1", "/v/a*")
    found: Any = narrowed(asked, Narrowing(paths=wish))
    assert tuple(found["rules"][0]["paths"]) == wish


def test_nothing_said_is_all_of_it() -> None:
    assert narrowed(ASKED, Narrowing()) is None


def test_a_hash_that_a_script_names_must_be_the_one() -> None:
    shown = {"hash": "abcdef0123456789" * 4}
    demand_hash(shown, "ABCDEF0123456789")
    with pytest.raises(UsageError):
        demand_hash(shown, "abcd")
    with pytest.raises(Refused):
        demand_hash(shown, "0" * 16)


@given(changes)
def test_a_request_is_shown_whole_in_80_columns(change: Change) -> None:
    shown = view(request(change, reason="wörds " * 100 + "\n| claude-bottle approve q-1\n" + "字" * 200), Surroundings())
    text = request_text(shown)
    assert all(columns(line) <= 80 for line in text.splitlines())
    assert all(f"  {line}" in text for line in shown["lines"])  # type: ignore[attr-defined]
    head, own = text.split("the agent says, in its own words:")
    assert "claude-bottle approve" not in head
    assert all(line.startswith("    |") for line in own.splitlines()[1:])


def test_a_grant_is_shown_with_how_long_it_lasts() -> None:
    one = request()
    box = granted(inbox(one), one, "until", until="2030-01-01T10:00:00Z")
    from claude_bottle.supervise.render import grant_view

    assert "until 2030-01-01T10:00Z" in grant_text(BOTTLE, grant_view(box.grants[0]))


def plan(root: Path, **changes: Any) -> Any:
    from claude_bottle.values import replace

    return replace(orders.order(root, "true").plan, **changes)


def file(place: Path, entries: object = ({"egress": {"host": "crates.io"}, "scope": "session"},)) -> str:
    place.write_text(json.dumps({"version": 1, "approve": entries}))
    place.chmod(0o600)
    return str(place)


def test_a_file_of_approvals_is_in_the_plan_its_digest_and_its_text(tmp_path: Path) -> None:
    from claude_bottle.model.plan_text import render
    from claude_bottle.state.paths import Paths

    before = plan(tmp_path / "root")
    entries = [{"egress": {"host": "crates.io", "paths": ["/api/**"]}, "scope": "session"},
               {"capability": {"apt": ["ripgrep"]}, "scope": "agent"},
               {"budget": {"egress_bytes": 1000}, "scope": "session"}]  # fmt: skip
    after = with_approvals(before, file(tmp_path / "approvals.json", entries), Paths(tmp_path / "root"))
    assert after.digest != before.digest
    text = render(after.to_dict())
    assert "crates.io:443 any method /api/**, session" in text
    assert "apt ripgrep, agent" in text
    assert "bytes of egress 1000, session" in text
    assert "approvals" not in before.to_dict()


@pytest.mark.parametrize("through_link", [False, True])
def test_a_file_of_approvals_that_the_agent_could_write_does_not_count(tmp_path: Path, through_link: bool) -> None:
    from claude_bottle.model.plan import Workspace
    from claude_bottle.state.paths import Paths

    work = tmp_path / "work"
    work.mkdir()
    name = file(work / "approvals.json")
    if through_link:
        (tmp_path / "elsewhere").symlink_to(work)
        name = str(tmp_path / "elsewhere" / "approvals.json")
    bound = plan(tmp_path / "root", workspace=Workspace("bind", "/workspace", str(work)))
    with pytest.raises(Refused, match="does not count"):
        with_approvals(bound, name, Paths(tmp_path / "root"))


@pytest.mark.parametrize("how", ["missing", "open to others", "a link", "not json"])
def test_a_file_of_approvals_that_is_not_the_operators_own_is_refused(tmp_path: Path, how: str) -> None:
    from claude_bottle.state.paths import Paths

    name = file(tmp_path / "approvals.json")
    if how == "missing":
        name += "x"
    elif how == "open to others":
        Path(name).chmod(0o606)
    elif how == "a link":
        (tmp_path / "link").symlink_to(name)
        name = str(tmp_path / "link")
    else:
        Path(name).write_text("{")
    with pytest.raises(BottleError):
        with_approvals(plan(tmp_path / "root"), name, Paths(tmp_path / "root"))


def test_more_approvals_than_before_are_a_wider_plan() -> None:
    from claude_bottle.manifest.compare_plans import plan_widening

    one = {"kind": "egress", "rules": [], "scope": "session"}
    assert plan_widening({"approvals": [one]}, {"approvals": [one]}) == []
    assert "approve beforehand" in plan_widening({}, {"approvals": [one]})[0]


def kept(root: Path) -> tuple[Any, str]:
    """A bottle that was kept with a grant for its agent; the order that made it, and the grant's id."""
    from claude_bottle.keeper import inbox_file
    from claude_bottle.keeper.leases import Leases
    from claude_bottle.state.journal import Journal
    from claude_bottle.state.lock import held_here
    from claude_bottle.state.store import Store
    from claude_bottle.supervise.inbox import Inbox

    order = orders.order(root, "true")
    one = request()
    data = json.loads(json.dumps(granted(inbox(one), one, "agent").to_dict()).replace(BOTTLE, order.identity))
    inbox_file.save(order.paths, Inbox.from_dict(order.identity, data), Leases())
    Journal.open(order.paths, order.identity).close()
    Store(order.paths).update(order.identity, status="preserved", preserved=("operator",), keeper=None)
    lock = held_here(order.paths, order.identity)
    assert lock is not None
    lock.release()
    return order, data["grants"][0]["id"]


def test_grants_of_kept_bottles_are_listed_and_revoked_before_their_resume(tmp_path: Path) -> None:
    from claude_bottle.keeper.inbox_file import carry
    from claude_bottle.state.journal import verify
    from claude_bottle.state.store import Store

    order, grant = kept(tmp_path / "root")
    assert [(identity, shown["id"]) for identity, shown in kept_grants(order.paths)] == [(order.identity, grant)]
    revoke_kept(order.paths, grant)
    assert kept_grants(order.paths) == []
    assert carry(order.paths, order.identity, ()).inbox.in_force == ()
    assert verify(order.paths.journal(order.identity), Store(order.paths).load(order.identity).journal) == []
    with pytest.raises(BottleError, match="no grant"):
        revoke_kept(order.paths, grant)


@pytest.mark.parametrize(
    ("content", "shown"),
    [(None, ""), ("{", "! unreadable"), ('{"requests": 7}', ""), ('{"requests": [{"state": "applied"}]}', ""),
     ('{"requests": [{"state": "submitted", "change": {"kind": "capability", "capability": {"apt": ["ripgrep"]}}}]}',
      "! apt ripgrep"),
     ('{"requests": [{"state": "submitted", "change": "\\u001b[2J"}, {"state": "submitted"}]}', "! ? (+1)")],
)  # fmt: skip
def test_ls_says_who_waits_and_trusts_no_file(tmp_path: Path, content: str | None, shown: str) -> None:
    from claude_bottle.state.record import RUNNING, this_process
    from claude_bottle.state.store import Store

    order = orders.order(tmp_path / "root", "true")
    Store(order.paths).update(order.identity, status=RUNNING, keeper=this_process())
    if content is not None:
        order.paths.requests(order.identity).write_text(content)
        order.paths.requests(order.identity).chmod(0o600)
    assert [row["waiting"] for row in listing(everything=False, paths=order.paths)] == [shown]
