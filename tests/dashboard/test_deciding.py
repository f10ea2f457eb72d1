"""When a key counts as a decision."""

from __future__ import annotations

import pytest

from claude_bottle.dashboard.deciding import ALONE, QUIET, STALL, Deciding

BEAT = 0.1


def beaten(deciding: Deciding, begin: float, seconds: float) -> list[str]:
    """Beats over a time, and the keys that decided in it."""
    beats = [begin + index * BEAT for index in range(round(seconds / BEAT) + 1)]
    return [key for now in beats if (key := deciding.beat(now)) is not None]


@pytest.fixture
def armed() -> Deciding:
    """A dialog of one line that has stood since 100 s, and is armed."""
    deciding = Deciding(1)
    deciding.window(0, 1)
    beaten(deciding, 100.0, QUIET + BEAT)
    assert deciding.armed
    return deciding


def test_a_key_that_comes_alone_decides(armed: Deciding) -> None:
    armed.typed("s", 101.0)
    assert beaten(armed, 101.0, 2 * ALONE) == ["s"]


def test_a_key_decides_once(armed: Deciding) -> None:
    armed.typed("s", 101.0)
    assert beaten(armed, 101.0, 1.0) == ["s"]


def test_keys_before_the_dialog_has_stood_for_a_moment_do_nothing() -> None:
    deciding = Deciding(1)
    deciding.beat(100.0)
    deciding.typed("s", 100.1)
    assert beaten(deciding, 100.2, 3.0) == []


def test_whoever_goes_on_typing_never_arms_it() -> None:
    deciding = Deciding(1)
    for index in range(40):
        now = 100.0 + index * 0.3
        deciding.beat(now)
        deciding.typed("s", now + 0.1)
        assert not deciding.armed


def test_a_key_typed_before_it_was_armed_and_read_later_does_nothing(armed: Deciding) -> None:
    armed.typed("s", 100.2)
    assert beaten(armed, 101.0, 2.0) == []


def test_two_keys_in_a_row_are_a_paste_and_do_nothing(armed: Deciding) -> None:
    armed.typed("s", 101.0)
    armed.typed("a", 101.0 + ALONE / 2)
    assert beaten(armed, 101.1, 0.3) == []
    assert not armed.armed


def test_a_key_with_something_behind_it_is_not_alone(armed: Deciding) -> None:
    armed.typed("s", 101.0)
    armed.disturbed(101.05)
    assert beaten(armed, 101.1, 2.0) == []


def test_a_paste_disarms_it(armed: Deciding) -> None:
    armed.pasted(101.0)
    armed.typed("s", 101.1)
    assert beaten(armed, 101.1, 2.0) == []


def test_after_the_machine_stood_still_the_moment_begins_anew(armed: Deciding) -> None:
    armed.typed("s", 100.8)
    armed.beat(100.8 + STALL + 1)
    assert not armed.armed
    assert beaten(armed, 104.0, 2.0) == []


def test_a_late_beat_alone_makes_no_key_count(armed: Deciding) -> None:
    """What was typed behind it may still lie unread."""
    armed.typed("s", 100.8)
    assert armed.beat(100.8 + 0.5) is None
    armed.typed("a", 100.9)
    assert beaten(armed, 101.4, 2.0) == []


def test_what_was_scrolled_through_is_complete() -> None:
    deciding = Deciding(30)
    deciding.window(0, 10)
    assert not deciding.complete
    deciding.window(9, 19)
    deciding.window(18, 30)
    assert deciding.complete


def test_a_leap_to_the_end_shows_the_middle_to_nobody() -> None:
    deciding = Deciding(30)
    deciding.window(0, 10)
    deciding.window(20, 30)
    assert not deciding.complete
