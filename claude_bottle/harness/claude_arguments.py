"""Claude Code's command line, as far as it must be told apart: which of an operator's arguments is the prompt.

A conversation that goes on must not begin with its first prompt again. Checked against `claude --help` of version 2.1.330.
Pure.
"""

from __future__ import annotations

from collections.abc import Sequence

_ONE = frozenset({
    "--agent", "--agents", "--append-system-prompt", "--append-system-prompt-file", "--autocompact", "--debug-file",
    "--effort", "--environment", "--fallback-model", "--input-format", "--json-schema", "--max-budget-usd", "--max-turns",
    "--model", "--name", "-n", "--output-format", "--permission-mode", "--permission-prompt-tool", "--plugin-dir",
    "--plugin-url", "--permission-prompts", "--remote-control-session-name-prefix", "--setting-sources", "--settings",
    "--system-prompt", "--system-prompt-file",
})  # fmt: skip
_MANY = frozenset({
    "--add-dir", "--allowedTools", "--allowed-tools", "--betas", "--disallowedTools", "--disallowed-tools", "--file",
    "--mcp-config", "--tools",
})  # fmt: skip
# Which conversation goes on is ours to say.
_CONVERSATION = frozenset({"--continue", "-c", "--fork-session"})
_CONVERSATION_VALUE = frozenset({"--resume", "-r", "--session-id"})


def without_prompt(args: Sequence[str]) -> list[str]:
    """The options among `args`, with their values."""
    kept: list[str] = []
    takes = ""  # what the last option still takes: one value, many, or a conversation's id that is left out
    for word in args:
        if word == "--":
            break  # all that follows is the prompt
        if word.startswith("-") and len(word) > 1:
            name = word.partition("=")[0]
            takes = "" if "=" in word else "one" if name in _ONE else "many" if name in _MANY else ""
            if name in _CONVERSATION or name in _CONVERSATION_VALUE:
                takes = "drop" if "=" not in word and name in _CONVERSATION_VALUE else ""
                continue
            kept.append(word)
        elif takes in ("one", "many"):
            kept.append(word)
            takes = "" if takes == "one" else takes
        elif takes == "drop":
            takes = ""
    return kept
