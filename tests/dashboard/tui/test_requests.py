"""Deciding in the dashboard: only what was shown, only by keys that were meant."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from textual import events

from claude_bottle.dashboard.tui.dialog import Dialog
from claude_bottle.state.marker import marker
from claude_bottle.state.paths import Paths
from tests.dashboard.keepers import HOST, FakeKeeper
from tests.dashboard.tui.drive import Driver, drive

Keeper = Callable[..., FakeKeeper]
LONG: dict[str, Any] = {"lines": [f"+ GET  https://crates.io/{number}" for number in range(60)]}
TWO: dict[str, Any] = {"kind": "egress", "rules": [{"host": "crates.io", "methods": ["GET", "POST"]}, {"host": "docs.rs"}]}


@pytest.fixture
def made(keeper: Keeper) -> FakeKeeper:
    return keeper("reviewer-p02mfe")


@pytest.mark.parametrize(("key", "scope"), [("o", "once"), ("s", "session"), ("a", "agent")])
def test_a_key_approves_what_is_shown_for_its_scope(paths: Paths, made: FakeKeeper, key: str, scope: str) -> None:
    view = made.ask(1, HOST)

    async def scenario(at: Driver) -> None:
        await at.open_request()
        await at.decide(key, lambda: made.decided)
        if key != "a":
            await at.sees(f"approved ({scope}) and in force")

    drive(paths, scenario)
    said = made.decided[0]
    assert (said["op"], said["id"], said["hash"], said["revision"], said["scope"]) == (
        "approve", view["id"], view["hash"], 1, scope)  # fmt: skip


@pytest.mark.threat(67, 105)
def test_the_dialog_shows_the_change_the_reach_the_marker_and_last_the_agents_words(paths: Paths, made: FakeKeeper) -> None:
    made.ask(1, HOST, reason="I need [b]crates[/b] [/] [link=x]now", warnings=["looks like example.com"])

    async def scenario(at: Driver) -> None:
        await at.open_request()
        screen = at.screen
        assert marker(paths) in screen and "request 1 of 1" in screen
        places = [screen.index(words) for words in ("reviewer-p02mfe asks for a host", "GET  https://crates.io/api/**",
                  "api.anthropic.com:443", "looks like example.com", "I need [b]crates[/b] [/] [link=x]now")]  # fmt: skip
        assert places == sorted(places)

    drive(paths, scenario)


@pytest.mark.threat(72)
def test_what_was_not_scrolled_to_its_end_cannot_be_approved(paths: Paths, made: FakeKeeper) -> None:
    made.ask(1, HOST, **LONG)

    async def scenario(at: Driver) -> None:
        await at.sees("waiting for you")
        await at.press("2", "enter")
        await at.sees("read it to its end first")
        dialog = at.app.screen
        assert isinstance(dialog, Dialog)
        await at.until(lambda: dialog.deciding.armed)
        await at.press("end", "s")
        assert "read it to its end first" in at.screen
        await at.until(lambda: dialog.deciding.armed)
        assert not made.decided
        await at.read_to_end(dialog)
        await at.armed()
        await at.decide("s", lambda: made.decided)

    drive(paths, scenario)


@pytest.mark.threat(76)
def test_keys_typed_ahead_of_the_dialog_decide_nothing(paths: Paths, made: FakeKeeper) -> None:
    made.ask(1, HOST)

    async def scenario(at: Driver) -> None:
        await at.sees("waiting for you")
        await at.press("2", "enter")
        await at.until(lambda: isinstance(at.app.screen, Dialog))
        for char in "soa":
            at.app.screen.post_message(events.Key(char, char))
        await at.armed()
        assert not made.decided

    drive(paths, scenario)


@pytest.mark.threat(76)
def test_a_paste_decides_nothing(paths: Paths, made: FakeKeeper) -> None:
    made.ask(1, HOST)

    async def scenario(at: Driver) -> None:
        dialog = await at.open_request()
        dialog.post_message(events.Paste("s"))
        for char in "some text":
            dialog.post_message(events.Key(char, char))
        await at.pilot.pause()
        await at.armed()
        assert not made.decided and at.app.screen is dialog

    drive(paths, scenario)


@pytest.mark.threat(68, 69)
def test_a_request_that_changes_while_it_is_read_is_to_be_read_again(paths: Paths, made: FakeKeeper) -> None:
    view = made.ask(1, HOST)

    async def scenario(at: Driver) -> None:
        dialog = await at.open_request()
        made.change(view["id"], revision=2, lines=["+ GET  https://other.example/**"], hash="f" * 64)
        await at.sees("other.example")
        assert dialog is at.app.screen
        await at.armed()
        await at.decide("s", lambda: made.decided)

    drive(paths, scenario)
    assert (made.decided[0]["hash"], made.decided[0]["revision"]) == ("f" * 64, 2)


def test_whoever_comes_second_is_told_that_it_is_decided(paths: Paths, made: FakeKeeper) -> None:
    view = made.ask(1, HOST)

    async def scenario(at: Driver) -> None:
        await at.open_request()
        made.change(view["id"], state="applied", scope="once")
        await at.sees("already decided: approved (once) and in force")
        await at.press("s", "escape")
        await at.sees("✓ applied")

    drive(paths, scenario)
    assert not made.decided


def test_an_approval_the_keeper_refuses_changes_nothing_and_says_so(paths: Paths, made: FakeKeeper) -> None:
    view = made.ask(1, HOST)

    async def scenario(at: Driver) -> None:
        await at.open_request()
        made.views[view["id"]]["hash"] = "0" * 64  # as if the news of it were still on its way
        await at.decide("s", lambda: "the request is not what was shown" in at.screen)
        assert not made.decided

    drive(paths, scenario)


def test_a_keeper_that_dies_under_the_dialog_is_said(paths: Paths, made: FakeKeeper) -> None:
    made.ask(1, HOST)

    async def scenario(at: Driver) -> None:
        await at.open_request()
        made.leave()
        await at.sees("nothing to decide")
        await at.press("escape")
        await at.sees("no agent has asked")

    drive(paths, scenario)


def test_a_rejection_carries_its_reason(paths: Paths, made: FakeKeeper) -> None:
    made.ask(1, HOST)

    async def scenario(at: Driver) -> None:
        await at.open_request()
        await at.decide("r", lambda: "what the agent is told" in at.screen)
        await at.press(*"use pypi", "enter")
        await at.sees("already decided: rejected".removeprefix("already decided: "))
        await at.until(lambda: made.decided)

    drive(paths, scenario)
    assert made.decided[0]["op"] == "reject" and made.decided[0]["reason"] == "use pypi"


def test_leaving_the_reason_rejects_nothing(paths: Paths, made: FakeKeeper) -> None:
    made.ask(1, HOST)

    async def scenario(at: Driver) -> None:
        await at.open_request()
        await at.decide("r", lambda: "what the agent is told" in at.screen)
        await at.press("escape")
        await at.armed()
        await at.press("escape")
        await at.sees("! waiting")

    drive(paths, scenario)
    assert not made.decided


def test_a_narrowed_change_is_shown_again_and_is_what_is_approved(paths: Paths, made: FakeKeeper) -> None:
    made.ask(1, TWO)

    async def scenario(at: Driver) -> None:
        await at.open_request()
        await at.decide("e", lambda: "docs.rs:443 methods" in at.screen)
        await at.press(*["backspace"] * 5, "tab", "tab", "home", *["delete"] * 3, *"none", "enter")
        await at.sees("narrowed by you")
        await at.armed()
        assert "docs.rs" not in at.screen
        await at.decide("s", lambda: made.decided)

    drive(paths, scenario)
    rules = made.decided[0]["change"]["rules"]
    assert [(rule["host"], rule["methods"]) for rule in rules] == [("crates.io", ["GET"])]


def test_what_is_edited_wider_is_refused(paths: Paths, made: FakeKeeper) -> None:
    made.ask(1, HOST)

    async def scenario(at: Driver) -> None:
        await at.open_request()
        await at.decide("e", lambda: "crates.io:443 methods" in at.screen)
        await at.press("home", *["delete"] * 3, *"any", "enter")
        await at.sees("wider than what was asked for")
        assert "narrowed by you" not in at.screen

    drive(paths, scenario)
    assert not made.decided


def test_in_a_terminal_too_narrow_to_show_it_whole_nothing_is_approved(paths: Paths, made: FakeKeeper) -> None:
    made.ask(1, HOST, lines=["+ GET  https://" + "x" * 61])

    async def scenario(at: Driver) -> None:
        await at.sees("waiting")
        await at.press("2", "enter")
        await at.sees("too narrow")
        dialog = at.app.screen
        await at.until(lambda: dialog.deciding.armed)  # type: ignore[attr-defined]
        await at.press("s", "escape")
        await at.sees("! waiting")

    drive(paths, scenario, size=(60, 24))
    assert not made.decided


def test_whoever_leaves_does_not_wait_for_a_keeper_that_does_not_answer(paths: Paths, made: FakeKeeper) -> None:
    made.ask(1, HOST)
    made.silent.add("approve")

    async def scenario(at: Driver) -> None:
        await at.open_request()
        await at.decide("s", lambda: "asking the keeper" in at.screen)
        await at.press("escape", "q")

    drive(paths, scenario)


def test_what_is_being_carried_out_is_said(paths: Paths, made: FakeKeeper) -> None:
    view = made.ask(1, HOST)
    made.silent.add("approve")

    async def scenario(at: Driver) -> None:
        await at.open_request()
        await at.decide("s", lambda: "asking the keeper" in at.screen)
        made.change(view["id"], state="approved", scope="session")
        await at.sees("approved (session), being carried out")

    drive(paths, scenario)


def test_another_credential_of_the_operators_can_be_named_and_is_shown(paths: Paths, made: FakeKeeper) -> None:
    made.ask(1, {"kind": "credential", "rule": {"host": "api.github.com", "paths": ["/repos/**"], "credential": "github"}})

    async def scenario(at: Driver) -> None:
        await at.open_request()
        await at.decide("e", lambda: "which credential of yours" in at.screen)
        await at.press("tab", "tab", "home", *["delete"] * 6, *"work", "enter")
        await at.sees("with your credential work")
        await at.decide("s", lambda: made.decided)

    drive(paths, scenario)
    assert made.decided[0]["credential"] == "work"
