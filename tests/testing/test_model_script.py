from __future__ import annotations

import re
from typing import Any

import pytest

from claude_bottle.errors import BottleError
from claude_bottle.testing.model import SCRIPTS, load
from claude_bottle.testing.model_script import Conversation, Player, ToolCall, parse, tool_id


def body(*messages: Any) -> dict[str, Any]:
    return {"messages": list(messages)}


def user(text: str) -> dict[str, Any]:
    return {"role": "user", "content": [{"type": "text", "text": text}]}


def result(label: str, text: str) -> dict[str, Any]:
    identifier = tool_id(ToolCall("Bash", {}, label), 1)
    return {"role": "user", "content": [{"type": "tool_result", "tool_use_id": identifier, "content": text}]}


def play(player: Player, *messages: Any, key: str = "a", keys: tuple[str, ...] = ()) -> str:
    conversation = Conversation.of(body(*messages), key, keys)
    return player.next(conversation).text(conversation)


def test_turns_are_used_up_in_order_and_then_the_fallback_answers() -> None:
    player = Player(parse([{"say": "one"}, {"say": "two"}]))
    assert [play(player, user("x")) for _ in range(2)] == ["one", "two"]
    assert "x" in play(player, user("x"))


def test_each_conversation_plays_the_script_from_its_start() -> None:
    player = Player(parse([{"say": "one"}, {"say": "two"}]))
    assert play(player, user("x"), key="a") == "one"
    assert play(player, user("x"), key="b") == "one"
    assert play(player, user("x"), key="a") == "two"


def test_a_turn_whose_condition_does_not_hold_stays_for_later() -> None:
    player = Player(parse([{"when": "walrus", "say": "walrus"}, {"say": "first"}, {"say": "second"}]))
    assert play(player, user("hello")) == "first"
    assert play(player, user("a walrus")) == "walrus"
    assert play(player, user("a walrus")) == "second"


def test_a_condition_on_results_looks_at_the_newest_message_only() -> None:
    script = [{"if_result_matches": "42", "say": "forty-two", "repeat": True}, {"say": "other", "repeat": True}]
    player = Player(parse(script))
    assert play(player, user("go"), result("a", "it is 42")) == "forty-two"
    assert play(player, user("go"), result("a", "it is 42"), user("and now 42?")) == "other"


def test_of_either_only_the_first_that_fits_is_played_and_both_are_used_up() -> None:
    player = Player(parse([{"either": [{"when": "a", "say": "A"}, {"when": "b", "say": "B"}]}, {"say": "next"}]))
    assert play(player, user("b")) == "B"
    assert play(player, user("a")) == "next"


def test_lines_follow_the_results_by_the_label_of_their_call() -> None:
    line = {"of": "net", "matches": "REACHED", "text": "out!", "else": "closed"}
    messages = [user("go"), result("net", "not there"), result("other", "REACHED")]
    assert play(Player(parse([{"say": ["", line]}])), *messages) == "\nclosed"
    assert play(Player(parse([{"say": [line]}])), user("go"), result("net", "REACHED")) == "out!"


def test_a_line_can_tell_whether_the_real_key_was_seen() -> None:
    line = {"matches": "{key}", "text": "leaked", "else": "safe"}
    for text, said in (("k.y", "leaked"), ("key", "safe")):
        assert play(Player(parse([{"say": [line]}])), user("go"), result("a", text), keys=("k.y",)) == said
    assert play(Player(parse([{"say": [line]}])), user("go"), result("a", "x")) == "safe"


def test_named_groups_of_the_operators_words_reach_the_tool_call() -> None:
    script = parse([{"when": "run (?P<command>.+)", "tools": [{"name": "Bash", "input": {"command": "{command}"}}]}])
    conversation = Conversation.of(body(user("run echo {other} $((1+1))")), "a")
    turn = Player(script).next(conversation)
    assert turn.calls(conversation)[0].input == {"command": "echo {other} $((1+1))"}


def test_named_groups_of_a_result_reach_the_tool_call() -> None:
    script = parse([{"if_result_matches": "it is (?P<id>q-\\w+)", "tools": [{"name": "status", "input": {"id": "{id}"}}]}])
    conversation = Conversation.of(body(user("go"), result("ask", "it is q-7x.")), "a")
    assert Player(script).next(conversation).calls(conversation)[0].input == {"id": "q-7x"}


def test_what_the_client_adds_to_the_operators_words_is_not_taken_for_them() -> None:
    text = "<system-reminder>\nwalrus\n</system-reminder>"
    message = {"role": "user", "content": [{"type": "text", "text": text}, {"type": "text", "text": "hello"}]}
    system = {"role": "system", "content": "walrus"}
    assert Conversation.of(body(message, system), "a").user_text == "hello"


@pytest.mark.parametrize(
    ("script", "why"),
    [
        ("text", "expected an object"),
        ({"turn": []}, "unknown key 'turn'"),
        ([{"text": "x"}], r"turns\[0\]: unknown key 'text'"),
        ([{"say": "x"}, {"when": "("}], r"turns\[1\]: not a regular expression"),
        ([{"tools": [{"name": "Bash"}]}], "an input object"),
        ([{"tools": [{"name": "Bash", "input": {}, "label": "a_b"}]}], "letters, digits and dashes"),
        ([{"either": [{"say": "a"}], "say": "b"}], "unknown key 'say'"),
    ],
)
def test_a_broken_script_names_the_place(script: object, why: str) -> None:
    with pytest.raises(BottleError) as broken:
        parse(script)
    assert re.search(why, broken.value.why)


def test_the_demos_script_is_sound_and_warns_of_whatever_should_not_be() -> None:
    demo = load(SCRIPTS / "demo.json")
    labels = [call.label for step in demo.steps for turn in step for call in turn.tools]
    leaks = [result(label, "REACHED FOUND the-real-key") for label in labels]
    summary = demo.steps[-1][0]
    worst = summary.text(Conversation.of(body(user("tour"), *leaks), "a", ("the-real-key",)))
    about = {line.of for line in summary.say if line.of}
    assert about == set(labels)
    assert worst.count("⚠") == len([line for line in summary.say if line.of]) - 1
