"""What an agent's home holds that runs by itself at the next start: told to the operator before they resume.

It runs inside and nowhere else, so it is no way out; but whoever goes on with a conversation should know that the programs of
this home do more than they are asked. Reads the home as what it is, hostile: no link is followed, sizes are bounded.
"""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

from claude_bottle.harness.agent_home import AgentHome

if TYPE_CHECKING:
    from pathlib import Path

_LIMIT = 4 << 20
# Read by shells and tools without being asked to; nothing of ours writes them.
_STARTED = (".bashrc", ".bash_profile", ".bash_login", ".profile", ".zshrc", ".zshenv", ".zprofile", ".gitconfig", ".npmrc")
# Settings of an agent program, and the key that makes it run something of its own accord.
_SETTINGS = ((".claude/settings.json", "hooks"), (".claude/settings.local.json", "hooks"), (".claude.json", "mcpServers"))


def planted(home: Path) -> tuple[str, ...]:
    """One line for the plan, or nothing."""
    found = [name for name in _STARTED if os.path.lexists(home / name)]
    found += [f"{name} ({key})" for name, key in _SETTINGS if _says(AgentHome(home), name, key)]
    return (f"its home holds what runs inside by itself at a start: {', '.join(found)}",) if found else ()


def _says(home: AgentHome, name: str, key: str) -> bool:
    data = home.read(name, _LIMIT)
    try:
        said = json.loads(data) if data is not None else None
    except (ValueError, RecursionError):
        return False
    return isinstance(said, dict) and bool(said.get(key))
