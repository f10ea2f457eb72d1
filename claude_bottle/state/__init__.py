"""What is kept on disk between commands: paths, records, locks, journals, transcripts, settings, trust.

Everything lies under one root that only the operator may enter and is written atomically; nothing of it is
ever visible in a bottle but `home/`, `workspace/` and `layers/`. The four calls of the original interface are
importable from here and load what they need only when called.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from claude_bottle.state.contract import cleanup_state, is_preserved, mark_preserved, snapshot_transcript

__all__ = ["cleanup_state", "is_preserved", "mark_preserved", "snapshot_transcript"]


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from claude_bottle.state import contract

    return getattr(contract, name)
