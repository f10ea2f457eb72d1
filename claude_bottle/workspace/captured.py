"""The work of a running bottle as it was at one moment: what was changed is copied out before anybody judges it, so that what
is shown, judged and applied are the same bytes.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from claude_bottle.workspace.directory import Directory
from claude_bottle.workspace.export import Export
from claude_bottle.workspace.refs import Handed
from claude_bottle.workspace.work import FILE, OTHER, Change, Tree, Work


class CapturedWork(Work):
    """`work` itself goes on for everything but the content of its changes, which lies in the fresh directory `place`."""

    def __init__(self, work: Work, place: Path) -> None:
        self._work, self.source = work, work.source
        found = work.changes()
        place.mkdir(0o700)
        directory = os.open(place, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            copying = Export(work.result, links_out=True)
            copying.run(((change.path, change.after) for change in found if change.after is not None), directory)
        finally:
            os.close(directory)
        self.result: Directory = Directory(place, ours=True)
        self.result.notes += [*work.result.notes, *copying.notes]
        self._changes = [now for change in found if (now := self._as_copied(change)) is not None]

    def changes(self) -> Sequence[Change]:
        return self._changes

    def before(self, path: str) -> bytes | None:
        return self._work.before(path)

    def untouched(self, path: str) -> bool:
        return self._work.untouched(path)

    @property
    def whole(self) -> Tree:
        return self._work.whole

    @property
    def handed(self) -> Handed:
        return self._work.handed

    def host_edits(self) -> tuple[str, ...]:
        return self._work.host_edits()

    def inner_repositories(self) -> list[str]:
        return self._work.inner_repositories()

    def close(self) -> None:
        self.result.close()

    def _as_copied(self, change: Change) -> Change | None:
        """With the set-id bits it had; None for what could not be copied (a note says so)."""
        if change.after is None or change.after.kind == OTHER:
            return change
        there = self.result.entry(change.path)
        if there is None:
            return None
        mode = change.after.mode if there.kind == change.after.kind == FILE else there.mode
        return change._replace(after=there._replace(mode=mode))
