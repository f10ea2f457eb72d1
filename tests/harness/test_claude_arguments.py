"""Which of an operator's arguments is a prompt, so that a conversation that goes on does not begin again."""

from __future__ import annotations

import pytest

from claude_bottle.harness import get
from claude_bottle.harness.base import Launch, Program
from claude_bottle.harness.claude_arguments import without_prompt

SESSION = "6f1c1d2e-0000-4000-8000-000000000000"


@pytest.mark.parametrize(
    ("args", "kept"),
    [
        ([], []), (["do it"], []), (["-p", "do it"], ["-p"]), (["-p", "do it", "--verbose"], ["-p", "--verbose"]),
        (["--model", "opus", "do it"], ["--model", "opus"]), (["--model=opus", "do it"], ["--model=opus"]),
        (["do it", "--output-format", "json"], ["--output-format", "json"]),
        (["--allowedTools", "Bash", "Edit", "--", "do it"], ["--allowedTools", "Bash", "Edit"]),
        (["--add-dir", "/a", "/b", "-p"], ["--add-dir", "/a", "/b", "-p"]), (["--", "-p"], []),
        (["--resume", "other", "-p"], ["-p"]), (["--continue", "do it"], []), (["--session-id=x", "-p", "y"], ["-p"]),
        (["-"], []),
    ],
)  # fmt: skip
def test_options_stay_and_the_prompt_goes(args: list[str], kept: list[str]) -> None:
    assert without_prompt(args) == kept


def test_a_note_takes_the_prompts_place_behind_the_conversations_id() -> None:
    launch = Launch(Program("1", (), "/opt/claude"), args=("-p", "do it"), session_id=SESSION, resume=True, note="granted")
    words = get("claude").command(launch)
    assert words[4:] == ["--resume", SESSION, "granted", "-p"]


def test_where_no_conversation_is_there_is_nothing_to_go_on_with() -> None:
    launch = Launch(Program("1", (), "/opt/claude"), args=("-p", "do it"), session_id=SESSION, note="granted")
    assert get("claude").command(launch)[4:] == ["--session-id", SESSION, "-p", "do it"]
