"""Colour for states, and only there: green is fine, yellow is weaker or waiting, red is refused or missing.

Never alone (the word stands there too), never off a terminal, never with NO_COLOR (https://no-color.org).
"""

from __future__ import annotations

import os
import sys

_CODES = {"green": "32", "yellow": "33", "red": "31", "cyan": "36"}


def paint(text: str, colour: str | None) -> str:
    """`text` in that colour on a terminal that wants it; as it is anywhere else."""
    if not colour or not wanted():
        return text
    return f"\x1b[{_CODES[colour]}m{text}\x1b[0m"


def wanted() -> bool:
    if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return False
    return sys.stdout is not None and sys.stdout.isatty()
