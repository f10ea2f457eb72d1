"""What a copy was made from: recorded when it is made, from the operator's directory, so that later it can be told what the
bottle changed and what the host did.

A file of the host whose stat is still the recorded one is itself the original (ctime cannot be set, and nothing is copied
before its clock has moved on), so nothing is hashed and little is kept: the content of small files, smallest first, in one
pack, for those that the host changes meanwhile. The record lies beside the bottle's state and is never seen in a bottle.
"""

from __future__ import annotations

import json
import os
import stat
import time
from pathlib import Path
from typing import Any, NamedTuple

from claude_bottle.errors import BottleError
from claude_bottle.state import files, ignore
from claude_bottle.state.damage import damaged
from claude_bottle.workspace import refs as references
from claude_bottle.workspace.directory import Directory, content
from claude_bottle.workspace.refs import Handed
from claude_bottle.workspace.work import FILE, HIDE, KEEP, MAX_ORIGINAL, OTHER, PRUNE, Entry, Skip, in_repository

SCHEMA = 1
MAX_PACK, MAX_PACKED_FILE = 64 << 20, 256 << 10
_MANIFEST, _PACK, _LIMIT = "manifest.json", "content.pack", 1 << 30
_IGNORE = ".dockerignore"
# CLOCK_REALTIME_COARSE of clock_gettime(2), by which files are stamped: Python has no name for it.
_FILES_CLOCK = 5
# Many of its ticks; a ctime further ahead is of another clock, or of before this one was set.
_AHEAD_NS, _PAUSE = 100_000_000, 0.001


class Original(NamedTuple):
    """One path as it was handed in. `stamp`: mtime, ctime (ns) and inode of the host's file; `at`: where its content lies in
    the pack, -1 where it does not."""

    entry: Entry
    stamp: tuple[int, int, int] = (0, 0, 0)
    at: int = -1


class Base:
    """What was handed in. `source`: the host's directory; `ignored`: the rules by which things were left out."""

    def __init__(self, directory: Path, source: Path, rules: str, handed: Handed, originals: dict[str, Original]) -> None:
        self._directory, self.source, self.handed, self.originals = directory, source, handed, originals
        self.ignored = ignore.Ignored(rules.split("\n"))

    @classmethod
    def load(cls, directory: Path) -> Base:
        """FileNotFoundError when there is none; BottleError for one that is damaged."""
        path = directory / _MANIFEST
        try:
            data = json.loads(files.read_private(path, _LIMIT))
            if data["schema"] != SCHEMA:
                raise ValueError(f"its schema is {data['schema']!r}")
            originals = {name: _original(values) for name, values in data["entries"].items()}
            return cls(directory, Path(data["source"]), data["ignore"], references.load(directory), originals)
        except (KeyError, TypeError, ValueError, AttributeError) as problem:
            raise damaged(path, str(problem)) from problem

    def kept(self, original: Original) -> bytes | None:
        """The content of a file that was kept; None where it was not."""
        if original.at < 0:
            return None
        try:
            fd = files.open_private(self._directory / _PACK, os.O_RDONLY)
        except (OSError, BottleError):
            return None
        try:
            found = os.pread(fd, original.entry.size, original.at)
        finally:
            os.close(fd)
        return found if len(found) == original.entry.size else None


def skipping(ignored: ignore.Ignored) -> Skip:
    """What is not part of the work: a repository's own files, and what was left out of the copy."""

    def skip(path: str, is_directory: bool) -> str:
        if in_repository(path):
            return PRUNE
        if not ignored.ignores(path):
            return KEEP
        return HIDE if is_directory and not ignored.prunes(path) else PRUNE

    return skip


def stamp_of(found: os.stat_result) -> tuple[int, int, int]:
    return found.st_mtime_ns, found.st_ctime_ns, found.st_ino


def record(source: Path, directory: Path, *, belongs_to: Path | None = None, ignoring: bool = True) -> None:
    """Write down what `source` holds, into the directory `directory`. `belongs_to`: the operator's directory, where that is
    another; `ignoring`: what `.dockerignore` leaves out is not handed in. BottleError when it cannot be read or written."""
    ignored = ignore.read(str(source)) if ignoring else ignore.Ignored(())
    with Directory(source) as tree:
        found = {path: (entry, stamp_of(about)) for path, entry, about in tree.walk_stats(skipping(ignored))
                 if entry.kind != OTHER}  # fmt: skip
        if tree.notes:
            raise BottleError("cannot note what is copied", why=tree.notes[0])
        _outwait(max((changed for _, (_, changed, _) in found.values()), default=0))
        files.ensure_private_dir(directory)
        places = _pack(tree, directory, {path: entry for path, (entry, _) in found.items()})
        rules = content(tree, _IGNORE, ignore.MAX_BYTES) if ignoring and _is_file(tree.stat(_IGNORE)) else b""
        data = {"schema": SCHEMA, "source": str(belongs_to or source), "ignore": rules.decode("utf-8-sig"),
                "entries": {path: _values(*about, places.get(path, -1)) for path, about in found.items()}}  # fmt: skip
        record_refs(tree, directory, belongs_to)
        files.write_atomic(directory / _MANIFEST, json.dumps(data, separators=(",", ":")).encode())


def _outwait(changed: int) -> None:
    """Until the kernel's clock of files is past this ctime: whatever is changed from now on gets a later one, also where its
    ticks are of some milliseconds."""
    while 0 <= changed - time.clock_gettime_ns(_FILES_CLOCK) < _AHEAD_NS:
        time.sleep(_PAUSE)


def record_refs(tree: Directory, directory: Path, belongs_to: Path | None = None) -> None:
    """Only what commits are counted from: all that a workspace needs that lies over its original."""
    files.ensure_private_dir(directory)
    if belongs_to is None:
        references.record(directory, tree)
    else:
        with Directory(belongs_to) as host:
            references.record(directory, tree, host)


def _pack(tree: Directory, directory: Path, entries: dict[str, Entry]) -> dict[str, int]:
    """Keep the content of the smallest files, as far as there is room for; where each lies."""
    small = sorted((e.size, path) for path, e in entries.items() if e.kind == FILE and e.size <= MAX_PACKED_FILE)
    places, at = {}, 0
    fd = os.open(directory / _PACK, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with open(fd, "wb", buffering=1 << 20) as pack:
        for size, path in small:
            if at + size > MAX_PACK:
                break
            try:
                data = content(tree, path, MAX_ORIGINAL)
            except OSError:
                continue  # unreadable: the copy will say so
            if len(data) == size:
                pack.write(data)
                places[path] = at
                at += size
    return places


def _is_file(found: os.stat_result | None) -> bool:
    return found is not None and stat.S_ISREG(found.st_mode)


def _values(entry: Entry, stamp: tuple[int, int, int], at: int) -> list[object]:
    return [entry.kind, entry.mode, entry.size, entry.link, *stamp, at]


def _original(values: Any) -> Original:
    kind, mode, size, link, mtime, ctime, inode, at = values  # whatever it is not, is caught above
    if not isinstance(kind, str) or not isinstance(link, str) or not all(type(n) is int for n in (mode, size, at)):
        raise ValueError("an entry in it is damaged")
    return Original(Entry(kind, mode, size, link), (mtime, ctime, inode), at)
