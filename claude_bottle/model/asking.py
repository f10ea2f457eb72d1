"""What an agent is told of how to ask: the gate's own address inside a bottle, and words for its system prompt. Pure."""

from __future__ import annotations

HOST = "bottle.internal"
URL = f"http://{HOST}"
MCP_SERVER, MCP_URL = "bottle", f"{URL}/mcp"

BRIEF = (
    "You work inside a bottle, a sandbox: it reaches only the hosts its operator has granted and has only the programs that "
    "were put into it. When a request is refused with 403 and \"blocked\": true, a host name does not resolve, or a program "
    "or credential is missing, that is the sandbox; there is no way around it from inside. Neither give up nor try to work "
    f"around it: call the matching request_* tool of the MCP server {MCP_SERVER} (request_egress, request_capability for a "
    "missing program, request_credential, …) with exactly what you need and why. The call waits until the operator has "
    "decided, and its answer says what to do next. my_policy shows what is granted."
)  # fmt: skip
"""For harnesses that can add to their agent's system prompt."""
