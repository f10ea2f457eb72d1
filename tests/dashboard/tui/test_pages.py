"""The dashboard's pages."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from claude_bottle.state.paths import Paths
from tests.dashboard.keepers import HOST, FakeKeeper
from tests.dashboard.tui.drive import Driver, drive

Keeper = Callable[..., FakeKeeper]
REFUSED = {"id": "r-1", "host": "crates.io", "port": 443, "method": "GET", "path": "/api/v1", "allow": False,
           "reason": "host_not_granted", "rule": None, "via": "https"}  # fmt: skip


@pytest.mark.parametrize("size", [(80, 24), (200, 50), (30, 8)])
def test_every_page_shows_itself_at_every_size(paths: Paths, keeper: Keeper, size: tuple[int, int]) -> None:
    made = keeper("reviewer-p02mfe")
    made.ask(1, HOST)
    made.happened("decision", **REFUSED)

    async def scenario(at: Driver) -> None:
        await at.until(lambda: at.app.board.waiting)
        for number, page in enumerate(at.app.pages, 1):
            await at.press(str(number))
            await at.until(lambda page=page: at.app.page is page and page.list.lines)
            assert len(at.screen.split("\n")) == size[1]

    drive(paths, scenario, size)


def test_a_wide_terminal_shows_what_the_chosen_line_stands_for_beside_it(paths: Paths, keeper: Keeper) -> None:
    keeper("reviewer-p02mfe").ask(1, HOST, reason="because")

    async def scenario(at: Driver) -> None:
        await at.sees("waiting for you")
        await at.press("2")
        await at.sees("agent says │ because", "effect   in force at once")

    drive(paths, scenario, size=(200, 50))


def test_a_refused_line_is_granted_by_a_key_and_a_look(paths: Paths, keeper: Keeper) -> None:
    made = keeper("reviewer-p02mfe")
    made.happened("decision", **REFUSED)

    async def scenario(at: Driver) -> None:
        await at.press("3")
        await at.sees("refused [g]", "crates.io")
        await at.press("g")
        await at.armed()
        assert "your own grant" in at.screen
        await at.decide("s", lambda: made.decided)

    drive(paths, scenario)
    said = made.decided[0]
    assert (said["op"], said["scope"], said["revision"]) == ("grant", "session", 1)
    rules = said["change"]["rules"]
    assert [(rule["host"], rule["port"], rule["methods"]) for rule in rules] == [("crates.io", 443, ["GET"])]


def test_what_no_grant_would_let_through_offers_none(paths: Paths, keeper: Keeper) -> None:
    made = keeper("reviewer-p02mfe")
    made.happened("decision", **{**REFUSED, "reason": "bad_request"})

    async def scenario(at: Driver) -> None:
        await at.press("3")
        await at.sees("refused", "bad_request")
        await at.press("g")
        await at.sees("no grant would let this through")

    drive(paths, scenario)


def test_new_lines_of_the_journal_appear_and_markup_in_them_is_text(paths: Paths, keeper: Keeper) -> None:
    made = keeper("reviewer-p02mfe")

    async def scenario(at: Driver) -> None:
        await at.press("4")
        await at.sees("nothing yet")
        made.happened("exec", argv=["[link=https://evil.example]x[/link]", "[/]", "\x1b[2J"], tty=False)
        await at.sees("[link=https://evil.example]x[/link]", "[/]", "\\x1b[2J")

    drive(paths, scenario, size=(140, 24))


@pytest.mark.threat(70, 73)
def test_hostile_text_in_every_field_is_text_on_every_page(paths: Paths, keeper: Keeper) -> None:
    made = keeper("reviewer-p02mfe")
    nasty = "[/][bold red on white]x[/b] [@click=app.exit]y[/] \x1b]0;t\x07\u202e $"
    made.ask(1, HOST, title=nasty, lines=[nasty], reach=[nasty], warnings=[nasty], reason=nasty, outcome=nasty, effect=nasty)
    made.happened("decision", **{**REFUSED, "host": nasty, "path": nasty})

    async def scenario(at: Driver) -> None:
        await at.until(lambda: at.app.board.waiting)
        for number in range(1, len(at.app.pages) + 1):
            await at.press(str(number))
            await at.until(lambda: at.app.page.list.lines)
            await at.press("enter")
            await at.pilot.pause(0.1)
            assert "\x1b" not in at.screen and "\u202e" not in at.screen
            await at.press("escape")
        await at.press("2", "enter")
        await at.sees("[/][bold red on white]x[/b] [@click=app.exit]y[/]")

    drive(paths, scenario, size=(200, 50))


def test_brackets_go_to_another_bottle(paths: Paths, keeper: Keeper) -> None:
    keeper("reviewer-p02mfe").happened("note", text="first")
    keeper("docs-7ahq2c").happened("note", text="second")

    async def scenario(at: Driver) -> None:
        await at.press("4")
        await at.until(lambda: "first" in at.screen or "second" in at.screen)
        other = "second" if "first" in at.screen else "first"
        await at.press("]")
        await at.sees(other)

    drive(paths, scenario)


def test_two_dashboards_agree(paths: Paths, keeper: Keeper) -> None:
    made = keeper("reviewer-p02mfe")
    made.ask(1, HOST)

    async def scenario(at: Driver) -> None:
        await at.open_request()

        async def other(second: Driver) -> None:
            await second.open_request()
            await second.decide("o", lambda: made.decided)

        import asyncio

        await asyncio.to_thread(drive, paths, other)
        await at.sees("already decided: approved (once)")

    drive(paths, scenario)
    assert len(made.decided) == 1


def test_a_damaged_state_root_is_said_and_not_a_crash(paths: Paths, keeper: Keeper) -> None:
    keeper("reviewer-p02mfe")

    async def scenario(at: Driver) -> None:
        await at.sees("reviewer-p02mfe")
        paths.states.chmod(0o777)
        await at.sees("its mode is 0777")
        paths.states.chmod(0o700)
        await at.until(lambda: "its mode is" not in at.screen)

    drive(paths, scenario)


def test_the_conversation_grows_on_its_page(paths: Paths, keeper: Keeper) -> None:
    keeper("reviewer-p02mfe", session="6f1f7a0e-1111-4222-8333-444455556666")
    file = paths.home("reviewer-p02mfe") / ".claude/projects/-workspace/6f1f7a0e-1111-4222-8333-444455556666.jsonl"
    file.parent.mkdir(parents=True)
    said = '{"type": "%s", "message": {"content": "%s"}}\n'
    file.write_text(said % ("user", "please [b]look[/b] [/]"))

    async def scenario(at: Driver) -> None:
        await at.press("5")
        await at.sees("please [b]look[/b] [/]")
        with open(file, "a") as conversation:
            conversation.write(said % ("assistant", "I have looked"))
        await at.sees("I have looked")

    drive(paths, scenario)


def test_what_the_agent_does_appears_on_its_page(paths: Paths, keeper: Keeper) -> None:
    made = keeper("reviewer-p02mfe")
    paths.workspace("reviewer-p02mfe").mkdir()

    async def scenario(at: Driver) -> None:
        await at.press("6")
        made.happened("decision", **REFUSED)
        await at.sees("refused", "crates.io:443")
        (paths.workspace("reviewer-p02mfe") / "made.py").write_text("1")
        await at.sees("new made.py")
        await at.press("enter")
        await at.sees("seen in its workspace")

    drive(paths, scenario)
