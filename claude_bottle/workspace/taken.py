"""Which of a bottle's work the operator has not got yet: judged by what it is, whatever the time.

A change is with the operator when the host has it, or when exactly it was applied, exported or pulled before. For that each
is known by a digest of its path and content, kept beside the bottle's state.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from claude_bottle.state import files
from claude_bottle.state.damage import damaged
from claude_bottle.state.work_note import WorkNote
from claude_bottle.workspace import sparse
from claude_bottle.workspace.directory import Directory, content, opened, same_bytes
from claude_bottle.workspace.refs import Refs, read
from claude_bottle.workspace.work import DIRECTORY, FILE, LINK, OTHER, Change, Work

SCHEMA = 1
_LIMIT, _BLOB_LIMIT = 256 << 20, 256 << 20


class Left(NamedTuple):
    """What the operator has not got: changes, and refs with how many commits they are. `notes`: what could not be looked
    at."""

    changes: tuple[Change, ...]
    refs: tuple[str, ...]
    commits: int
    notes: tuple[str, ...] = ()

    @property
    def note(self) -> WorkNote:
        """As numbers for `ls`: a directory counts where it is all there is."""
        files = sum(DIRECTORY not in {side.kind for side in change[1:] if side} for change in self.changes)
        return WorkNote(files or len(self.changes), self.commits)

    def __bool__(self) -> bool:
        return bool(self.changes or self.refs or self.notes)


def left(work: Work, taken: frozenset[str], changes: Sequence[Change] | None = None) -> Left:
    """What is in the work and not yet with the operator. Files of no kind that could go anywhere do not count."""
    host = Directory(work.source) if work.source.is_dir() else None
    try:
        everything = work.changes() if changes is None else changes
        found = [change for change in everything if not _gone_over(work, host, taken, change)]
        here = read(host) if host else Refs()
    finally:
        if host:
            host.close()
    now = read(work.whole)
    moved = tuple(name for name in now.moved(work.refs, here) if ref_digest(name, now) not in taken)
    return Left(tuple(found), moved, max(now.new_commits(work.refs, here), 1) if moved else 0, tuple(work.result.notes))


def _gone_over(work: Work, host: Directory | None, taken: frozenset[str], change: Change) -> bool:
    path, after = change.path, change.after
    if after is not None and after.kind == OTHER:
        return True
    if host is not None:
        here = host.entry(path)
        if here is None and after is None:
            return True
        if here and after and here.like(after._replace(mode=after.mode & 0o777)) and _same(work, host, change):
            return True
    return bool(taken) and digest(work, change) in taken


def _same(work: Work, host: Directory, change: Change) -> bool:
    if change.after is None or change.after.kind != FILE:
        return True
    try:
        with opened(host, change.path) as one, opened(work.result, change.path) as other:
            return same_bytes(one, other)
    except OSError:
        return False


def digest(work: Work, change: Change) -> str:
    """Of what the path is now: its kind, right to execute, and content. What cannot be read is never the same as before."""
    import hashlib

    after = change.after
    found = hashlib.sha256(os.fsencode(change.path) + b"\0")
    if after is not None:
        found.update(f"{after.kind}\0{after.executable}\0".encode() + os.fsencode(after.link) + b"\0")
    if after is not None and after.kind == FILE:
        try:
            with opened(work.result, change.path) as fd:
                found.update(sparse.digest(fd))
        except OSError:
            found.update(os.urandom(16))
    return found.hexdigest()


def ref_digest(name: str, refs: Refs) -> str:
    """Of the commit that a ref stands at."""
    return f"commit {refs.tip if name == 'HEAD' else dict(refs.tips).get(name, '')}"


def load(path: Path) -> frozenset[str]:
    """Digests of what was taken; none where there is no such file. BottleError for one that is damaged."""
    try:
        data = files.read_json(path, _LIMIT)
    except FileNotFoundError:
        return frozenset()
    taken = data.get("taken")
    if data.get("schema") != SCHEMA or not isinstance(taken, list):
        raise damaged(path, "no list of what was taken")
    return frozenset(map(str, taken))


def save(path: Path, taken: Iterable[str]) -> None:
    files.write_atomic(path, json.dumps({"schema": SCHEMA, "taken": sorted(taken)}).encode())


def in_commit(work: Work, change: Change, blobs: Mapping[str, str]) -> bool:
    """Whether a commit, whose files are `blobs` (path → git's id), has the path as it is now."""
    import hashlib

    after, blob = change.after, blobs.get(change.path, "")
    if after is None:
        return bool(blobs) and not blob
    if after.kind == DIRECTORY:
        return any(path.startswith(f"{change.path}/") for path in blobs)
    if not blob or after.kind == OTHER:
        return False
    try:
        data = os.fsencode(after.link) if after.kind == LINK else content(work.result, change.path, _BLOB_LIMIT)
    except OSError:
        return False
    kind = hashlib.sha256 if len(blob) == 64 else hashlib.sha1
    return kind(b"blob %d\0" % len(data) + data).hexdigest() == blob
