"""What a carrier to an ssh remote says when it has no answer of the remote's: one header, in an answer of its own.

Believed of carriers alone; any other server may say what it likes. Pure.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from claude_bottle.gate.head import Response

WHY = b"claude-bottle-why"


def problem(response: Response) -> str:
    """Why the remote could not be asked; "" when it was."""
    why = next((value for name, value in response.headers if name == WHY), b"")
    return why.decode("ascii", "replace")[:1000]
