"""What the dashboard knows of bottles, without a screen."""

from __future__ import annotations

from collections.abc import Callable

from claude_bottle.dashboard import asking, bottles
from claude_bottle.dashboard.board import Board
from claude_bottle.state.paths import Paths
from claude_bottle.state.store import Store
from tests.dashboard.keepers import HOST, OPERATIONS, FakeKeeper
from tests.waiting import eventually

Keeper = Callable[..., FakeKeeper]


def until(board: Board, condition: Callable[[], object]) -> None:
    def look() -> object:
        board.refresh()
        board.absorb()
        return condition()

    eventually(look)


def test_a_request_appears_without_being_asked_for(paths: Paths, keeper: Keeper) -> None:
    made = keeper("reviewer-p02mfe")
    heard: list[int] = []
    board = Board(paths, lambda: heard.append(1))
    until(board, lambda: board.bottles["reviewer-p02mfe"].asked)
    eventually(lambda: len(heard) == 2)  # its status, and that there is nothing: each is told once it can be taken in
    made.ask(1, HOST)
    eventually(lambda: len(heard) == 3)
    board.absorb()
    assert [item.view["title"] for item in board.waiting] == ["a host"]


def test_requests_of_several_bottles_are_one_list_the_oldest_waiting_first(paths: Paths, keeper: Keeper) -> None:
    first, second = keeper("reviewer-p02mfe"), keeper("docs-7ahq2c")
    first.ask(1, HOST, state="rejected")
    second.ask(2, HOST, created="2025-01-02T00:00:00Z")
    first.ask(3, HOST, created="2025-01-01T00:00:00Z")
    board = Board(paths)
    until(board, lambda: len(board.requests) == 3)
    assert [item.key[1] for item in board.requests] == ["q-00000003", "q-00000002", "q-00000001"]


def test_a_keeper_of_an_older_version_is_shown_as_such(paths: Paths, keeper: Keeper) -> None:
    keeper("reviewer-p02mfe", knows=OPERATIONS - {"follow_requests"})
    board = Board(paths)
    until(board, lambda: board.bottles["reviewer-p02mfe"].problem)
    assert "does not know the request" in bottles.lines(board, 80)[1].text


def test_a_keeper_of_a_newer_version_is_shown_as_such(paths: Paths, keeper: Keeper) -> None:
    keeper("reviewer-p02mfe", version=99)
    board = Board(paths)
    until(board, lambda: "newer claude-bottle" in board.bottles["reviewer-p02mfe"].problem)


def test_a_keeper_that_is_gone_takes_its_requests_along(paths: Paths, keeper: Keeper) -> None:
    made = keeper("reviewer-p02mfe")
    made.ask(1, HOST)
    board = Board(paths)
    until(board, lambda: board.waiting)
    made.leave()
    until(board, lambda: not board.requests)
    assert board.bottles["reviewer-p02mfe"].row["status"] == "interrupted"


def test_damaged_state_is_a_line_among_the_others(paths: Paths, keeper: Keeper) -> None:
    keeper("reviewer-p02mfe")
    keeper("docs-7ahq2c")
    paths.record("docs-7ahq2c").write_text("{")
    board = Board(paths)
    board.refresh()
    shown = [one.text for one in bottles.lines(board, 80)]
    assert any("docs-7ahq2c" in text and "damaged" in text for text in shown)


def test_what_a_bottle_takes_of_the_machine_is_shown(paths: Paths, keeper: Keeper) -> None:
    keeper("reviewer-p02mfe")
    board = Board(paths)
    until(board, lambda: (usage := board.bottles["reviewer-p02mfe"].usage) and usage.cpu is not None)
    assert "MiB" in bottles.lines(board, 80)[1].text


def test_the_last_line_of_a_bottle_is_its_journals(paths: Paths, keeper: Keeper) -> None:
    made = keeper("reviewer-p02mfe")
    made.happened("exec", argv=["make", "\x1b]52;c;x\x07"], tty=False)
    board = Board(paths)
    board.refresh()
    last = bottles.lines(board, 80)[1].text
    assert "exec" in last and "\x1b" not in last


def test_state_that_is_gone_is_gone_from_the_board(paths: Paths, keeper: Keeper) -> None:
    made = keeper("reviewer-p02mfe")
    board = Board(paths)
    until(board, lambda: board.bottles)
    Store(paths).update(made.identity, keeper=None, status="settled")
    Store(paths).cleanup(made.identity)
    until(board, lambda: not board.bottles)
    assert "no bottles yet" in bottles.lines(board, 80)[0].text


def test_every_line_of_the_agents_words_is_marked_as_the_agents(paths: Paths, keeper: Keeper) -> None:
    made = keeper("reviewer-p02mfe")
    view = made.ask(1, HOST, reason="please\n+ GET https://evil.example/**\n" + "x" * 300)
    shown = [one.text for one in asking.text("reviewer-p02mfe", view)]
    words = [text for text in shown if "evil" in text or "xxx" in text or "please" in text]
    assert len(words) >= 6 and all("│ " in text[:14] for text in words)
    assert shown[-1].endswith("x"), "the agent's words come last"


def test_nothing_of_a_view_is_left_out_however_long_it_is(paths: Paths, keeper: Keeper) -> None:
    made = keeper("reviewer-p02mfe")
    view = made.ask(1, HOST, lines=["+ " + "Y" * 500], reach=["Z" * 300], warnings=["W" * 200])
    shown = "".join(one.text for one in asking.text("reviewer-p02mfe", view))
    assert [shown.count(letter) for letter in "YZW"] == [500, 300, 200]
