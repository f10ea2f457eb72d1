"""What a program inside a bottle is told about the operator's terminal and language.

Only values that cannot carry anything else get through: the agent's environment is built from nothing, and
TERM selects a terminfo file by name. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping

from claude_bottle.patterns import regex

_TERM = regex(r"[A-Za-z0-9][A-Za-z0-9+._-]{0,39}")
_COLORTERM = ("truecolor", "24bit")


def terminal_environment(terminal: Mapping[str, str], *, tty: bool) -> dict[str, str]:
    """TERM, COLORTERM, NO_COLOR and a UTF-8 locale. `terminal` is the operator's environment or a part of
    it."""
    chosen = {"LANG": "C.UTF-8"}
    if not tty:
        return {**chosen, "TERM": "dumb"}
    term = terminal.get("TERM", "")
    chosen["TERM"] = term if _TERM.fullmatch(term) and term != "dumb" else "xterm-256color"
    if terminal.get("COLORTERM") in _COLORTERM:
        chosen["COLORTERM"] = terminal["COLORTERM"]
    if terminal.get("NO_COLOR"):
        chosen["NO_COLOR"] = "1"
    return chosen
