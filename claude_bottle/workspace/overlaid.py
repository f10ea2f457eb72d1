"""The work in a layer over the operator's directory: what the layers name, beside the directory as it is now.

There is no copy of what was handed in: a file of the operator's that has not changed since the layer began is the original,
and of one that has, nobody knows any more what it was. That costs what was changed, not what there is.
"""

from __future__ import annotations

import stat
from functools import cached_property
from pathlib import Path

from claude_bottle.state import host_edits
from claude_bottle.state.layers import Layers
from claude_bottle.state.merged import Difference, Merged
from claude_bottle.workspace.directory import Directory, content, opened, same_bytes
from claude_bottle.workspace.refs import Handed
from claude_bottle.workspace.work import (
    FILE,
    MAX_ORIGINAL,
    OTHER,
    Change,
    Entry,
    Tree,
    Work,
    entry_of,
    in_repository,
    is_repository,
)

_MAX_INNER = 100


class MergedTree(Tree):
    """The layers put together, as data."""

    def __init__(self, merged: Merged) -> None:
        self._merged, self.notes = merged, []

    def entry(self, path: str) -> Entry | None:
        try:
            found = self._merged.entry(path)
            if found is None:
                return None
            return entry_of(found, self._merged.link(path) if stat.S_ISLNK(found.st_mode) else "")
        except (OSError, ValueError):
            return None

    def names(self, path: str) -> list[str]:
        try:
            return self._merged.names(path)
        except (OSError, ValueError):
            return []

    def open(self, path: str) -> int:
        try:
            return self._merged.open(path)
        except ValueError as problem:
            raise OSError(str(problem)) from problem


class OverlaidWork(Work):
    """`handed`: the refs of the operator's repository when the layer began."""

    def __init__(self, begun: Layers, handed: Handed) -> None:
        self._begun, self._handed, self.source = begun, handed, Path(begun.source)
        self._merged = Merged(begun)
        self.result: Tree = MergedTree(self._merged)
        self._host = Directory(self.source)
        self._inner: list[str] = []

    def close(self) -> None:
        self._host.close()

    def changes(self) -> list[Change]:
        self._inner = []
        return sorted(change for one in self._merged.differences() if (change := self._change(one)) is not None)

    def before(self, path: str) -> bytes | None:
        if path in self._edited:
            return None
        try:
            return content(self._host, path, MAX_ORIGINAL)
        except OSError:
            return None

    def untouched(self, path: str) -> bool:
        if self._host.entry(path) is None:
            return path not in self._names  # else the host has removed it
        return path not in self._edited

    def host_edits(self) -> tuple[str, ...]:
        return tuple(host_edits.unlike(self._begun, list(self._edited)))

    def inner_repositories(self) -> list[str]:
        return self._inner

    @property
    def handed(self) -> Handed:
        return self._handed

    @cached_property
    def _edited(self) -> dict[str, None]:
        return dict.fromkeys(host_edits.edited(self._begun))

    @cached_property
    def _names(self) -> frozenset[str]:
        return host_edits.names(self._begun) or frozenset()

    def _change(self, found: Difference) -> Change | None:
        """None for what is no change of the work: a repository's own files, modes that do not go over, pipes that were
        there before."""
        path = found.path
        if in_repository(path):
            name = path.rpartition("/")[2]
            if "/" in path and found.before is None and is_repository(name) and len(self._inner) < _MAX_INNER:
                self._inner.append(path)
            return None
        before = self._host.entry(path) if found.before is not None else None
        after = self.result.entry(path) if found.after is not None else None
        if before is not None and before.kind == OTHER:
            return None
        if after is not None and after.like(before) and (after.kind != FILE or self._same(path)):
            return None
        return Change(path, before, after)

    def _same(self, path: str) -> bool:
        try:
            with opened(self._host, path) as one, opened(self.result, path) as other:
                return same_bytes(one, other)
        except OSError:
            return False
