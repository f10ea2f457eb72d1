"""The four calls the original interface promises, on the default state root.

Each takes an identity; an empty one does nothing, any other is validated before a path is made of it. Whoever
has a `Paths` of their own uses `Store` and `transcripts` instead.
"""

from __future__ import annotations

from pathlib import Path

from claude_bottle.state.paths import Paths
from claude_bottle.state.record import INTERRUPTED, effective_status
from claude_bottle.state.store import Store


def snapshot_transcript(identity: str) -> Path | None:
    """Archive the conversation as it is now; returns the archive, None when there is nothing to archive.

    BottleError for an unknown identity.
    """
    if not identity:
        return None
    from claude_bottle.state import transcripts

    paths = Paths.default()
    return transcripts.snapshot(paths, Store(paths).load(identity))


def mark_preserved(identity: str, reason: str = "") -> None:
    """Keep the state of this bottle when it has ended, and say why. BottleError for an unknown identity."""
    if identity:
        Store(Paths.default()).mark_preserved(identity, reason or "kept")


def is_preserved(identity: str) -> bool:
    """Whether its state is to be kept: marked so, or interrupted. False for an unknown identity."""
    if not identity:
        return False
    record = Store(Paths.default()).find(identity)
    if record is None:
        return False
    return bool(record.preserved) or effective_status(record) == INTERRUPTED


def cleanup_state(identity: str) -> None:
    """Remove the state of a bottle, conversation archived first. BottleError, saying how to stop it, while it
    runs."""
    if identity:
        Store(Paths.default()).cleanup(identity)
