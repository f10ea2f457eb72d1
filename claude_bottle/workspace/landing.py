"""How each change would land in the operator's tree: taken as it is, already there, merged, or in conflict.

Three sides decide: what was handed in, what the bottle made of it, what the host has now. Nothing is written here; `apply`
does what is decided, `diff` shows it.
"""

from __future__ import annotations

import os
import stat
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, NamedTuple

from claude_bottle.workspace.committed import Committed
from claude_bottle.workspace.directory import Directory, content, opened, same_bytes
from claude_bottle.workspace.triggers import Trigger, judge
from claude_bottle.workspace.work import DIRECTORY, FILE, MAX_ORIGINAL, OTHER, Change, Entry, Work

if TYPE_CHECKING:
    from collections.abc import Sequence

    from claude_bottle.workspace.quarantine import Quarantine

TAKE, SAME, MERGE, CONFLICT, LEFT = "take", "same", "merge", "conflict", "left"


Seen = tuple[int, int, int, int, int] | None


class Step(NamedTuple):
    """One change and how it lands. `why` explains a CONFLICT or what is LEFT; `merged` is the content of a MERGE, or of a
    CONFLICT that could be marked in the file (`clean`: there would be no mark in it). `seen`: what the host had
    when that was decided, to be found again."""

    change: Change
    triggers: tuple[Trigger, ...]
    action: str
    why: str = ""
    merged: bytes | None = None
    seen: Seen = None
    clean: bool = False


def seen(found: os.stat_result | None) -> Seen:
    if found is None:
        return None
    if stat.S_ISDIR(found.st_mode):
        return found.st_ino, found.st_mode, 0, 0, 0  # what is in it has its own
    return found.st_ino, found.st_mode, found.st_size, found.st_mtime_ns, found.st_ctime_ns


class Landing:
    """Decides for one work. Merging takes git; without a `quarantine` what needs it is a conflict."""

    def __init__(self, work: Work, host: Directory, quarantine: Quarantine | None) -> None:
        self._work, self._host, self._quarantine = work, host, quarantine
        self._taken: set[str] = set()
        began = work.refs.tip
        self._committed = Committed(quarantine, work.source, began) if quarantine and began else None

    def steps(self, changes: Sequence[Change]) -> list[Step]:
        """In the order of `changes`, which is a directory before its content."""
        found = []
        for change in changes:
            at = seen(self._host.stat(change.path))
            step = self._step(change)._replace(seen=at)
            if step.action == TAKE:
                self._taken.add(change.path)
            found.append(step)
        return found

    def _step(self, change: Change) -> Step:
        triggers = judge(change, self._work.before(change.path), self._after(change))
        if change.after is not None and change.after.kind == OTHER:
            return Step(change, triggers, LEFT, "neither file, directory nor link")
        action, why = self._decide(change)
        if action == MERGE:
            return self._merge(change, triggers)
        return Step(change, triggers, action, why)

    def _after(self, change: Change) -> bytes | None:
        if change.after is None or change.after.kind != FILE:
            return None
        try:
            return content(self._work.result, change.path, MAX_ORIGINAL)
        except OSError:
            return None

    def _decide(self, change: Change) -> tuple[str, str]:
        path, before, after = change
        if obstacle := self._obstacle(path):
            return CONFLICT if after else SAME, obstacle if after else ""
        here = self._host.entry(path)
        if self._as_wanted(path, after, here):
            return SAME, ""
        if self._work.untouched(path):
            return TAKE, ""
        if here is None:
            return CONFLICT, "removed on the host since"
        if after is None:
            return CONFLICT, "changed on the host since, removed in the bottle"
        if before is None:
            return CONFLICT, "made on the host too, differently"
        if before.kind == after.kind == here.kind == FILE:
            return MERGE, ""
        return CONFLICT, "changed on the host since, and not to be merged"

    def _obstacle(self, path: str) -> str:
        """What stands in the way to `path` on the host: a parent that is no directory, and will not be one."""
        parts = path.split("/")[:-1]
        for depth in range(1, len(parts) + 1):
            parent = "/".join(parts[:depth])
            here = self._host.entry(parent)
            if here is None or parent in self._taken:
                return ""  # it will be made
            if here.kind != DIRECTORY:
                return f"{parent} is a {here.kind} on the host"
        return ""

    def _as_wanted(self, path: str, after: Entry | None, here: Entry | None) -> bool:
        if after is None or here is None:
            return after is here
        if not here.like(after._replace(mode=after.mode & 0o777)):
            return False
        if after.kind != FILE:
            return True
        try:
            with opened(self._host, path) as one, opened(self._work.result, path) as other:
                return same_bytes(one, other)
        except OSError:
            return False

    def _merge(self, change: Change, triggers: tuple[Trigger, ...]) -> Step:
        base, ours, theirs = self._work.before(change.path), self._own(change.path), self._after(change)
        if base is None:
            return self._merge_as_committed(change, triggers, ours, theirs)
        if ours is None or theirs is None or b"\0" in base + ours + theirs:
            return Step(change, triggers, CONFLICT, "changed on the host since; not text, or too long to merge")
        if self._quarantine is None:
            return Step(change, triggers, CONFLICT, "changed on the host since; git, which would merge it, is not installed")
        merged, conflicts = merge(self._quarantine, ours, base, theirs)
        if conflicts:
            why = f"changed on the host since, {conflicts} place{'s' if conflicts > 1 else ''} on both sides"
            return Step(change, triggers, CONFLICT, why, merged)
        if merged == ours:
            return Step(change, triggers, SAME)  # merged before
        return Step(change, triggers, MERGE, "", merged)

    def _merge_as_committed(
        self, change: Change, triggers: tuple[Trigger, ...], ours: bytes | None, theirs: bytes | None
    ) -> Step:  # fmt: skip
        """What was handed in may have been more than what was committed, so this is for an operator to look at."""
        why = "changed on the host since, and what it was is not known any more"
        base = self._committed.content(change.path) if self._committed and ours is not None and theirs is not None else None
        if self._quarantine is None or base is None or ours is None or theirs is None or b"\0" in base + ours + theirs:
            return Step(change, triggers, CONFLICT, why)
        merged, conflicts = merge(self._quarantine, ours, base, theirs)
        places = f"in conflict in {conflicts} place{'s' if conflicts > 1 else ''}" if conflicts else "without a conflict"
        if merged == ours and theirs != base:  # what only takes back was not committed: nobody knows whether that is here
            return Step(change, triggers, SAME)
        why = f"{why}; merged over what was committed it is {places}"
        return Step(change, triggers, CONFLICT, why, merged, clean=not conflicts)

    def _own(self, path: str) -> bytes | None:
        try:
            return content(self._host, path, MAX_ORIGINAL)
        except OSError:
            return None


def merge(quarantine: Quarantine, ours: bytes, base: bytes, theirs: bytes) -> tuple[bytes, int]:
    """Three texts into one, and in how many places they conflict (those are marked in it)."""
    names = []
    for name, data in (("ours", ours), ("base", base), ("theirs", theirs)):
        place = quarantine.directory / f"merge-{name}"
        place.write_bytes(data)
        names.append(str(place))
    labels = ["-L", "host", "-L", "as handed in", "-L", "bottle"]
    done = quarantine.run("merge-file", "-p", "-q", *labels, *names, check=False)
    if not 0 <= done.code < 128:
        return b"", 1
    return done.out, done.code


def included(changes: Sequence[Change], globs: Sequence[str]) -> list[Change]:
    """Those that one of `globs` matches: a path, a directory with all below it, `*` across anything. All without any."""
    if not globs:
        return list(changes)
    wanted = [os.path.normpath(glob) for glob in globs]
    return [change for change in changes if any(_matches(change.path, glob) for glob in wanted)]


def _matches(path: str, glob: str) -> bool:
    return glob == "." or path == glob or path.startswith(f"{glob}/") or fnmatchcase(path, glob)
