"""Requests Claude Code makes besides the conversation, told apart so that they never eat a scripted turn.

Pure. Seen from 2.1.330: a probe of the base URL (`HEAD`), a one-token quota check, and small requests without
tools (titles, topics, summaries of tool output). A subagent's requests carry tools and look like turns of its
parent.
"""

from __future__ import annotations

from collections.abc import Mapping
from email.message import Message
from typing import Any

from claude_bottle.testing.model_script import Line, Turn

_TITLE = '{"title": "Scripted conversation", "isNewTopic": false}'


def conversation_key(headers: Message) -> str:
    """Which conversation a request belongs to: Claude Code's session id, or "" for other clients (one for
    all)."""
    return headers.get("x-claude-code-session-id", "")


def answer(body: Mapping[str, Any], headers: Message) -> tuple[str, Turn] | None:
    """(what it is, the answer) for a side request; None for a turn. Only Claude Code makes side requests."""
    if not headers.get("user-agent", "").startswith("claude-cli/"):
        return None
    if body.get("max_tokens") == 1:
        return "quota", Turn(say=(Line("."),))
    if not body.get("tools"):
        return "title", Turn(say=(Line(_TITLE),))
    return None
