"""The end of a turn, as Claude Code writes it down."""

from __future__ import annotations

import json

import pytest

from claude_bottle.harness import get


def line(kind: str, message: object, **more: object) -> bytes:
    return json.dumps({"type": kind, "message": message, **more}).encode()


@pytest.mark.parametrize(
    ("said", "ends"),
    [
        (line("assistant", {"stop_reason": "end_turn"}), 1),
        (line("assistant", {"stop_reason": "max_tokens"}), 1),
        (line("assistant", {"stop_reason": "tool_use"}), 0),
        (line("assistant", {"stop_reason": None}), 0),
        (line("assistant", {"stop_reason": "end_turn"}, isSidechain=True), 0),
        (line("user", {"content": [{"type": "text", "text": "[Request interrupted by user]"}]}), 1),
        (line("user", {"content": "go on"}), 0),
        (line("user", {"content": []}), 0),
        (line("assistant", "end_turn"), 0),
        (b'{"type": "system", "subtype": "turn_duration"}', 0),
        (b"[" * 100_000, 0),
        (b"\xff\x00", 0),
        (b"", 0),
    ],
)  # fmt: skip
def test_a_turn_ends_with_the_agents_last_word_or_an_interruption(said: bytes, ends: int) -> None:
    assert get("claude").ended_turns([said, b"{}"]) == ends


def test_a_shell_has_no_turns() -> None:
    assert get("shell").ended_turns([line("assistant", {"stop_reason": "end_turn"})]) == 0
