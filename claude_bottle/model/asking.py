"""What an agent is told of how to ask: the gate's own address inside a bottle, and words for its system prompt. Pure."""

from __future__ import annotations

HOST = "bottle.internal"
URL = f"http://{HOST}"
MCP_SERVER, MCP_URL = "bottle", f"{URL}/mcp"

BRIEF = (
    "You work in a bottle, a sandbox. What is blocked, does not resolve or is missing is not granted: there is no way around "
    f"it, so ask for it with the request_* tools of the MCP server {MCP_SERVER}, and wait for the answer."
)
"""For harnesses that can add to their agent's system prompt. Short, for it stands in the plan that a person reads: the rest
is in what the tools say of themselves."""
