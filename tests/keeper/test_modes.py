from __future__ import annotations

from claude_bottle.keeper.filter import TerminalFilter
from claude_bottle.keeper.modes import PASSED, Modes, recovering
from claude_bottle.keeper.ring import Ring


def noted(*pieces: bytes) -> Modes:
    modes = Modes()
    for piece in pieces:
        modes.note(piece)
    return modes


def test_every_mode_that_may_be_switched_on_is_switched_off() -> None:
    reset = noted(b"".join(b"\x1b[?%dh" % mode for mode in PASSED)).resetting()
    after = noted(b"".join(b"\x1b[?%dh" % mode for mode in PASSED), reset)
    assert after.restoring() == b""


def test_the_alternate_screen_is_left_only_where_it_was_entered() -> None:
    assert b"1049" not in noted(b"text").resetting()
    assert b"\x1b[?1049l" in noted(b"\x1b[?1049h").resetting()
    assert b"1049" not in noted(b"\x1b[?1049h", b"\x1b[?1049l").resetting()


def test_the_cursor_and_colours_come_back() -> None:
    for reset in (Modes().resetting(), recovering()):
        assert b"\x1b[?25h" in reset
        assert b"\x1b[m" in reset
        assert b"\x1b[r" in reset


def test_the_keyboard_protocol_of_the_operators_shell_is_not_popped() -> None:
    for reset in (Modes().resetting(), recovering()):
        assert b"u" not in reset


def test_a_reset_makes_no_terminal_answer() -> None:
    for reset in (noted(b"\x1b[?1049h\x1b[?6h").resetting(), recovering()):
        assert TerminalFilter().feed(reset.removeprefix(b"\x1b\\")) == reset.removeprefix(b"\x1b\\")


def test_a_replay_restores_modes_whose_sequences_have_been_forgotten() -> None:
    ring = Ring(limit=100)
    ring.add(b"\x1b[?1049h\x1b[?25l")
    for _ in range(20):
        ring.add(b"0123456789")
    replay = ring.replay()
    assert replay.startswith(b"\x1b[?1049h\x1b[?25l0")
    assert len(replay) < 140


def test_a_replay_of_a_short_session_is_the_session() -> None:
    ring = Ring()
    ring.add(b"one ")
    ring.add(b"two")
    assert ring.replay() == b"one two"
