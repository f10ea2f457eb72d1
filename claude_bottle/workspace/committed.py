"""What a file was in a commit of the operator's repository: read by git in a repository of ours, whose alternates are the
operator's objects (as for `pull`), so that none of their settings, hooks or filters count.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from claude_bottle.errors import BottleError
from claude_bottle.workspace.host_repository import HostRepository
from claude_bottle.workspace.work import MAX_ORIGINAL

if TYPE_CHECKING:
    from pathlib import Path

    from claude_bottle.workspace.quarantine import Quarantine


class Committed:
    """The files of one commit of the repository whose working tree `source` is."""

    def __init__(self, quarantine: Quarantine, source: Path, commit: str) -> None:
        self._quarantine, self._source, self._commit = quarantine, source, commit
        self._reading: Quarantine | None = None

    def content(self, path: str) -> bytes | None:
        """None where that is not known, or too much."""
        try:
            name = f"{self._commit}:{path}"
            size = self._open().run("cat-file", "-s", name, check=False)
            if size.code != 0 or int(size.out) > MAX_ORIGINAL:
                return None
            found = self._open().run("cat-file", "blob", name, check=False)
            return found.out if found.code == 0 else None
        except (BottleError, OSError, ValueError):
            return None

    def _open(self) -> Quarantine:
        if self._reading is None:
            self._reading = borrowing(self._quarantine, "committed", HostRepository(self._source))
        return self._reading


def borrowing(quarantine: Quarantine, name: str, host: HostRepository) -> Quarantine:
    """A repository beside the quarantine that knows the operator's objects, and nothing else of theirs."""
    made = quarantine.beside(name, sha256=host.sha256)
    (made.git / "objects" / "info").mkdir(exist_ok=True)
    (made.git / "objects" / "info" / "alternates").write_bytes(os.fsencode(host.objects) + b"\n")
    return made
