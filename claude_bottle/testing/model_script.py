"""The scripted model's script: what it says, in which order, and when.

Pure: a script is parsed once into frozen turns; a `Conversation` reads what a Messages API request carries;
`Player` picks the turn that answers it. Turns are used up in order, once per conversation; a turn whose
conditions do not hold is passed over and stays available. The format is described in docs/scripted-model.md.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from claude_bottle.errors import BottleError

_REMINDER = re.compile(r"<system-reminder>.*?</system-reminder>", re.DOTALL)
_SLOT = re.compile(r"\{(\w+)\}")
_LABEL = re.compile(r"[A-Za-z0-9-]{1,32}")
_ECHO_LIMIT = 200
_QUOTE_LIMIT = 1500


@dataclass(frozen=True)
class Line:
    """A piece of text. With `matches` it is said only if the tool result labelled `of` (or, unlabelled, the
    newest results) matches; else `otherwise` is."""

    text: str
    of: str = ""
    matches: str = ""
    otherwise: str = ""

    def choose(self, conversation: Conversation) -> str | None:
        """What is said; None for nothing. `{key}` in `matches` stands for the real key, which must never appear."""
        if not self.matches:
            return self.text
        result = conversation.results.get(self.of, "") if self.of else conversation.last_results
        keys = "|".join(map(re.escape, conversation.keys)) or "(?!)"
        return (self.text if re.search(self.matches.replace("{key}", keys), result) else self.otherwise) or None


@dataclass(frozen=True)
class ToolCall:
    name: str
    input: Mapping[str, Any]
    label: str = ""


@dataclass(frozen=True)
class Failure:
    """An HTTP error instead of an answer (`status`), or an answer cut off after `cut_after` characters of
    text."""

    status: int = 0
    kind: str = "api_error"
    message: str = "scripted failure"
    cut_after: int = -1


@dataclass(frozen=True)
class Turn:
    """One answer. `delay` seconds before it, `pace` seconds between chunks of streamed text. `repeat` turns
    are never used up. `when` must match the operator's newest text, `after` the newest tool results (regular
    expressions). `{user}`, `{result}` and `{name}`, a named group of either, are filled in in texts and in
    tool inputs."""

    say: tuple[Line, ...] = ()
    tools: tuple[ToolCall, ...] = ()
    when: str = ""
    after: str = ""
    delay: float = 0.0
    pace: float = 0.0
    failure: Failure | None = None
    repeat: bool = False

    def fits(self, conversation: Conversation) -> bool:
        if self.when and not (conversation.asks and re.search(self.when, conversation.user_text)):
            return False
        return not self.after or (conversation.answers and re.search(self.after, conversation.last_results) is not None)

    def text(self, conversation: Conversation) -> str:
        said = "\n".join(text for line in self.say if (text := line.choose(conversation)) is not None)
        return self._fill(said, conversation)

    def calls(self, conversation: Conversation) -> list[ToolCall]:
        """The tool calls, their string inputs filled in."""
        return [
            ToolCall(
                call.name,
                {k: self._fill(v, conversation) if isinstance(v, str) else v for k, v in call.input.items()},
                call.label,
            )
            for call in self.tools
        ]

    def _fill(self, text: str, conversation: Conversation) -> str:
        values = {
            "user": conversation.user_text.strip()[:_ECHO_LIMIT],
            "result": conversation.last_results.strip()[:_QUOTE_LIMIT],
        }
        for pattern, of in ((self.when, conversation.user_text), (self.after, conversation.last_results)):
            found = re.search(pattern, of) if pattern else None
            values.update({name: value or "" for name, value in found.groupdict().items()} if found else {})
        return _SLOT.sub(lambda slot: values.get(slot[1], slot[0]), text)


@dataclass(frozen=True)
class Conversation:
    """What a request tells about its conversation: the operator's newest text, every tool result by the label
    of its call, and of the newest message: its tool results together, whether it carries text of the operator
    (`asks`), and whether it carries tool results (`answers`). `keys` are the secrets the server expects."""

    key: str
    user_text: str
    results: Mapping[str, str]
    last_results: str
    asks: bool
    answers: bool
    keys: tuple[str, ...] = ()

    @classmethod
    def of(cls, body: Mapping[str, Any], key: str, keys: Sequence[str] = ()) -> Conversation:
        user_text = ""
        results: dict[str, str] = {}
        texts: list[str] = []
        found: list[tuple[str, str]] = []
        for message in _dicts(body.get("messages")):
            if message.get("role") == "user":
                texts, found = _read_user(message.get("content"))
                results.update({label_of(identifier): text for identifier, text in found})
                user_text = "\n".join(texts) or user_text
        newest = "\n".join(text for _, text in found)
        return cls(key, user_text, results, newest, bool(texts), bool(found), tuple(keys))


def tool_id(call: ToolCall, number: int) -> str:
    """The id a tool call is sent with: it carries the label, so that results are found again after a
    resume."""
    return f"toolu_{call.label or 'call'}_{number:04d}"


def label_of(identifier: str) -> str:
    parts = identifier.split("_")
    return parts[1] if len(parts) == 3 and parts[0] == "toolu" else identifier


def _read_user(content: object) -> tuple[list[str], list[tuple[str, str]]]:
    if isinstance(content, str):
        content = [{"type": "text", "text": content}]
    texts: list[str] = []
    results: list[tuple[str, str]] = []
    for block in _dicts(content):
        if block.get("type") == "text":
            text = _REMINDER.sub("", str(block.get("text", ""))).strip()
            if text:
                texts.append(text)
        elif block.get("type") == "tool_result":
            results.append((str(block.get("tool_use_id", "")), _flat(block.get("content"))))
    return texts, results


def _flat(content: object) -> str:
    if isinstance(content, str):
        return content
    return "\n".join(str(block.get("text", "")) for block in _dicts(content))


def _dicts(value: object) -> list[dict[str, Any]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


# Said when a script has nothing left and no fallback of its own.
DEFAULT_FALLBACK = (Turn(say=(Line("I am a scripted model, so all I can do is repeat you: {user}"),), repeat=True),)


@dataclass(frozen=True)
class Script:
    """Steps in order (each a choice of one or more turns), then the fallbacks."""

    steps: tuple[tuple[Turn, ...], ...]
    fallback: tuple[Turn, ...] = DEFAULT_FALLBACK


@dataclass
class Player:
    """Plays a script to any number of conversations at once. Not thread-safe: its owner locks."""

    script: Script
    used: dict[str, set[int]] = field(default_factory=dict)

    def next(self, conversation: Conversation) -> Turn:
        used = self.used.setdefault(conversation.key, set())
        for index, choices in enumerate(self.script.steps):
            if index in used:
                continue
            turn = next((turn for turn in choices if turn.fits(conversation)), None)
            if turn is not None:
                if not turn.repeat:
                    used.add(index)
                return turn
        fallbacks = (*self.script.fallback, *DEFAULT_FALLBACK)
        return next(turn for turn in fallbacks if turn.fits(conversation))


def parse(data: object) -> Script:
    """A script from its JSON: a list of steps, or `{"turns": [...], "fallback": [...]}`. BottleError names
    the place."""
    if isinstance(data, list):
        data = {"turns": data}
    found = _object(data, {"turns", "fallback"}, "script")
    steps = []
    for index, raw in enumerate(_list(found.get("turns", []), "turns")):
        where = f"turns[{index}]"
        either = raw.get("either") if isinstance(raw, dict) else None
        if either is not None:
            _object(raw, {"either"}, where)
        choices = [raw] if either is None else _list(either, f"{where}.either")
        steps.append(tuple(_turn(choice, where) for choice in choices))
    fallback = tuple(_turn(raw, "fallback") for raw in _list(found.get("fallback", []), "fallback"))
    return Script(tuple(steps), fallback or DEFAULT_FALLBACK)


_TURN_KEYS = {"say", "tools", "when", "if_result_matches", "delay", "pace", "error", "repeat"}


def _turn(raw: object, where: str) -> Turn:
    found = _object(raw, _TURN_KEYS, where)
    say = found.get("say", [])
    return Turn(
        say=tuple(_line(line, where) for line in ([say] if isinstance(say, str) else _list(say, where))),
        tools=tuple(_tool(tool, where) for tool in _list(found.get("tools", []), where)),
        when=_regex(found.get("when", ""), where),
        after=_regex(found.get("if_result_matches", ""), where),
        delay=float(found.get("delay", 0)),
        pace=float(found.get("pace", 0)),
        failure=_failure(found["error"], where) if "error" in found else None,
        repeat=found.get("repeat") is True,
    )


def _line(raw: object, where: str) -> Line:
    if isinstance(raw, str):
        return Line(raw)
    found = _object(raw, {"text", "of", "matches", "else"}, where)
    return Line(
        str(found.get("text", "")),
        str(found.get("of", "")),
        _regex(found.get("matches", ""), where),
        str(found.get("else", "")),
    )


def _tool(raw: object, where: str) -> ToolCall:
    found = _object(raw, {"name", "input", "label"}, where)
    label = str(found.get("label", ""))
    if not isinstance(found.get("name"), str) or not isinstance(found.get("input"), dict):
        raise _bad(where, "a tool call needs a name and an input object")
    if label and not _LABEL.fullmatch(label):
        raise _bad(where, f"label {label!r}: letters, digits and dashes only")
    return ToolCall(found["name"], found["input"], label)


def _failure(raw: object, where: str) -> Failure:
    found = _object(raw, {"status", "type", "message", "cut_after"}, where)
    return Failure(
        int(found.get("status", 0)),
        str(found.get("type", "api_error")),
        str(found.get("message", "scripted failure")),
        int(found.get("cut_after", -1)),
    )


def _regex(raw: object, where: str) -> str:
    try:
        re.compile(str(raw))
    except re.error as broken:
        raise _bad(where, f"not a regular expression: {broken}") from broken
    return str(raw)


def _object(raw: object, known: set[str], where: str) -> dict[str, Any]:
    if not isinstance(raw, dict):
        raise _bad(where, "expected an object")
    unknown = sorted(set(raw) - known)
    if unknown:
        raise _bad(where, f"unknown key {unknown[0]!r}; known: {', '.join(sorted(known))}")
    return raw


def _list(raw: object, where: str) -> Sequence[Any]:
    if not isinstance(raw, list):
        raise _bad(where, "expected a list")
    return raw


def _bad(where: str, why: str) -> BottleError:
    return BottleError("the model script is broken", why=f"{where}: {why}")
