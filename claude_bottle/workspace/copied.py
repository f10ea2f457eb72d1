"""The work in a private copy: the copy as it is now beside the record of what it was made from.

By content, never by time: where a file measures as much as its original, both are read. The original is the host's own
file while that is untouched, else what was kept of it. Only where neither is left does an unchanged time count as an
unchanged file.
"""

from __future__ import annotations

from pathlib import Path

from claude_bottle.workspace.base import Base, Original, skipping, stamp_of
from claude_bottle.workspace.directory import Directory, content, opened, same_bytes
from claude_bottle.workspace.refs import Handed
from claude_bottle.workspace.work import FILE, MAX_ORIGINAL, OTHER, PRUNE, Change, Entry, Work, is_repository

_MAX_INNER = 100


class CopiedWork(Work):
    """`host` and `result` are open as long as it is used; `close` ends that."""

    def __init__(self, base: Base, workspace: Path | int) -> None:
        self.base, self.source = base, base.source
        self._host: Directory | None = Directory(base.source) if base.source.is_dir() else None
        self.result: Directory = Directory(workspace, ours=True)
        self._usual, self._inner = skipping(base.ignored), list[str]()

    def close(self) -> None:
        self.result.close()
        if self._host:
            self._host.close()

    def changes(self) -> list[Change]:
        found, seen = [], set()
        for path, after in self.result.walk(self._skip):
            original = self.base.originals.get(path)
            seen.add(path)
            if original is None or not after.like(original.entry) or not self._same(path, after, original):
                found.append(Change(path, original.entry if original else None, after))
        gone = self.base.originals.keys() - seen
        found += [Change(path, self.base.originals[path].entry, None) for path in gone]
        return sorted(found)

    def inner_repositories(self) -> list[str]:
        return [path for path in self._inner if self._host is None or self._host.entry(path) is None]

    def _skip(self, path: str, is_directory: bool) -> str:
        verdict = self._usual(path, is_directory)
        if verdict == PRUNE and "/" in path and is_repository(path.rpartition("/")[2]) and len(self._inner) < _MAX_INNER:
            self._inner.append(path)
        return verdict

    def before(self, path: str) -> bytes | None:
        original = self.base.originals.get(path)
        if original is None or original.entry.kind != FILE or original.entry.size > MAX_ORIGINAL:
            return None
        if self._host and self._untouched(path, original):
            try:
                return content(self._host, path, MAX_ORIGINAL)
            except OSError:
                pass  # gone in between
        return self.base.kept(original)

    def untouched(self, path: str) -> bool:
        original = self.base.originals.get(path)
        here = self._host.entry(path) if self._host else None
        if original is None or here is None:
            return original is None and here is None
        if not here.like(original.entry):
            return False
        if here.kind != FILE or self._untouched(path, original):
            return True
        kept = self.base.kept(original)
        try:
            return kept is not None and self._host is not None and content(self._host, path, len(kept)) == kept
        except OSError:
            return False

    @property
    def handed(self) -> Handed:
        return self.base.handed

    def _same(self, path: str, after: Entry, original: Original) -> bool:
        if after.kind != FILE:
            return after.kind != OTHER
        try:
            if self._host and self._untouched(path, original):
                with opened(self._host, path) as one, opened(self.result, path) as other:
                    return same_bytes(one, other)
            kept = self.base.kept(original)
            if kept is not None:
                return content(self.result, path, len(kept)) == kept
        except OSError:
            return False  # what cannot be compared is not known to be the same
        now = self.result.stat(path)
        return now is not None and now.st_mtime_ns == original.stamp[0]

    def _untouched(self, path: str, original: Original) -> bool:
        """Whether the host's file is still the one that was copied."""
        now = self._host.stat(path) if self._host else None
        return now is not None and stamp_of(now) == original.stamp and now.st_size == original.entry.size
