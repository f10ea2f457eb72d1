"""Durations as people write them: 90s, 15m, 2h. Pure."""

from __future__ import annotations

import re

from claude_bottle.patterns import regex

_DURATION = regex(r"([1-9][0-9]{0,5})([smhd])", re.ASCII)
_SECONDS = {"d": 86400, "h": 3600, "m": 60, "s": 1}


def seconds(text: str) -> int | None:
    """None for what is no duration."""
    found = _DURATION.fullmatch(text)
    return int(found[1]) * _SECONDS[found[2]] if found else None


def duration(count: int) -> str:
    """In the largest unit that says it exactly."""
    unit = next(unit for unit, size in _SECONDS.items() if count % size == 0)
    return f"{count // _SECONDS[unit]}{unit}"
