"""Where a bottle runs: `get_bottle_backend()` chooses a backend, `BottleSpec` says what shall run in it."""

from __future__ import annotations

from claude_bottle.backend.base import BottleSpec
from claude_bottle.backend.registry import get_bottle_backend

__all__ = ["BottleSpec", "get_bottle_backend"]
