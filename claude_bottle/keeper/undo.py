"""A launch that did not happen: its state becomes what it was before, nothing or the former record.

For whoever holds the identity's lock, the CLI before the fork or the keeper after it; nothing of the launch runs any
more. Whatever fails here leaves a bottle that is listed as interrupted, and never hides the error that led here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from claude_bottle.errors import BottleError

if TYPE_CHECKING:
    from claude_bottle.state.paths import Paths
    from claude_bottle.state.record import BottleRecord, JournalHead


def undo_launch(paths: Paths, identity: str, former: BottleRecord | None) -> None:
    """`former` is the record a resume began with, None for a first start."""
    from claude_bottle.keeper import live_work
    from claude_bottle.state.store import Store

    store = Store(paths)
    try:
        live_work.let_go(paths, identity)
        if former is None:
            store.cleanup(identity)
        else:
            before = {name: value for name, value in former._asdict().items() if name not in ("schema", "identity")}
            store.update(identity, **before | {"journal": _journal_head(paths, identity)})
    except (BottleError, OSError):
        pass


def _journal_head(paths: Paths, identity: str) -> JournalHead | None:
    """Where the journal ends now that it may tell of a failed launch too."""
    from claude_bottle.state.journal import Journal

    try:
        journal = Journal.open(paths, identity)
    except (OSError, BottleError):
        return None
    head = journal.head
    journal.close()
    return head
