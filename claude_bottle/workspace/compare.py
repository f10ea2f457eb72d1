"""Changes as git shows them: lines added and removed, renames, a patch. Done by git on two trees of our own making, which
hold the changed files' content and nothing else.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import NamedTuple

from claude_bottle.workspace.directory import content
from claude_bottle.workspace.quarantine import Quarantine, stream
from claude_bottle.workspace.work import FILE, LINK, Change, Entry, Work

MAX_FILE, MAX_ALL, MAX_FILES = 8 << 20, 128 << 20, 50_000
# Nothing of the operator's or the tree's configuration decides what is shown.
_DIFF = ("diff-tree", "-r", "-M", "-l2000", "--no-ext-diff", "--no-textconv", "--no-color")


class Lines(NamedTuple):
    """Lines added and removed; -1 both for what is not text. `former`: the path it was renamed from."""

    added: int
    removed: int
    former: str = ""


class Comparison:
    """Changes of a work in a quarantine, under a name of their own there. `unshown`: paths whose content is not in it, and
    why."""

    def __init__(self, quarantine: Quarantine, work: Work, changes: Sequence[Change], name: str = "all") -> None:
        self._quarantine, self._work = quarantine, work
        self._both = f"{name}-before", f"{name}-after"
        self.unshown: dict[str, str] = {}
        self._left = MAX_ALL
        before, after = [], []
        for change in changes[:MAX_FILES]:
            one, other = self._original(change), self._now(change)
            if change.path not in self.unshown:
                before += one
                after += other
        self.unshown |= {change.path: "too many files" for change in changes[MAX_FILES:]}
        branches = dict(zip(self._both, (before, after), strict=True))
        quarantine.run("fast-import", "--quiet", "--done", "--force", input=stream(branches))

    def lines(self) -> dict[str, Lines]:
        """By path as it is now, or was where it is gone."""
        fields = self._quarantine.run(*_DIFF, "--numstat", "-z", *self._both, "--").out.split(b"\0")
        found, at = {}, 0
        while at < len(fields) - 1:
            added, removed, path = fields[at].split(b"\t", 2)
            former = b""
            if not path:
                former, path = fields[at + 1], fields[at + 2]
                at += 2
            at += 1
            numbers = (-1, -1) if added == b"-" else (int(added), int(removed))
            found[os.fsdecode(path)] = Lines(*numbers, os.fsdecode(former))
        return found

    def patch(self, *, binary: bool = False) -> bytes:
        """As `git apply` takes it. `binary`: what is not text whole, too, instead of a word about it."""
        return self._quarantine.run(*_DIFF, "-p", *(["--binary", "--full-index"] if binary else []), *self._both, "--").out

    def _original(self, change: Change) -> list[tuple[str, str, bytes]]:
        before = change.before
        if before is None or before.kind not in (FILE, LINK):
            return []
        data = os.fsencode(before.link) if before.kind == LINK else self._work.before(change.path)
        if data is None:
            self.unshown[change.path] = "what it was is not known any more, or too large to show"
            return []
        return [(change.path, _mode(before), data)] if self._room(change.path, len(data)) else []

    def _now(self, change: Change) -> list[tuple[str, str, bytes]]:
        after = change.after
        if after is None or after.kind not in (FILE, LINK):
            return []
        try:
            data = os.fsencode(after.link) if after.kind == LINK else content(self._work.result, change.path, MAX_FILE)
        except OSError:
            self.unshown[change.path] = "too large to show" if after.size > MAX_FILE else "it cannot be read"
            return []
        return [(change.path, _mode(after), data)] if self._room(change.path, len(data)) else []

    def _room(self, path: str, size: int) -> bool:
        self._left -= size
        if self._left < 0:
            self.unshown[path] = "too much to show at once"
        return self._left >= 0


def _mode(entry: Entry) -> str:
    return "120000" if entry.kind == LINK else "100755" if entry.executable else "100644"
