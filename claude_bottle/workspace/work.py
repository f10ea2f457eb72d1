"""What a bottle made of the tree it was given, as data: the one interface between workspace modes and what is done with
the work.

A mode (copy, overlay, clone) supplies a `Work`; `diff`, `apply`, `export`, `pull` and the settlement see nothing else of it.
Paths are relative to the workspace, `/` between, as `os.fsdecode` gives them, without empty, `.` or `..` parts. Everything
in a result was chosen by the agent.
"""

from __future__ import annotations

import os
import stat
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from claude_bottle.workspace.refs import Handed, Refs

FILE, DIRECTORY, LINK, OTHER = "file", "directory", "link", "other"
MAX_ENTRIES, MAX_DEPTH = 1_000_000, 128
# What is kept of an original, and what can be merged: text is smaller.
MAX_ORIGINAL = 1 << 20
SET_ID = stat.S_ISUID | stat.S_ISGID
_KINDS = {stat.S_IFREG: FILE, stat.S_IFDIR: DIRECTORY, stat.S_IFLNK: LINK}
# Characters that HFS+ passes over when it compares names, so that `.g\u200cit` is `.git` there.
_PASSED_OVER = dict.fromkeys(
    [*range(0x200C, 0x2010), *range(0x202A, 0x202F), *range(0x206A, 0x2070), 0xFEFF]
)

Skip = Callable[[str, bool], "str"]
KEEP, HIDE, PRUNE = "keep", "hide", "prune"


class Entry(NamedTuple):
    """What stands at a path, as lstat(2) says. `mode`: the permission bits with set-id; `link`: the text of a link."""

    kind: str
    mode: int
    size: int = 0
    link: str = ""

    @property
    def executable(self) -> bool:
        return self.kind == FILE and bool(self.mode & 0o100)

    def like(self, other: Entry | None) -> bool:
        """Whether both are alike, content of files aside: kind, right to execute, size, where a link leads. A set-id bit
        that the other has not makes a difference: nothing hands one in."""
        if other is None or self.kind != other.kind or self.link != other.link:
            return False
        if self.kind != FILE:
            return self.kind != OTHER
        return (self.executable, self.size) == (other.executable, other.size) and not self.mode & SET_ID & ~other.mode


class Change(NamedTuple):
    """One path that is not what it was. `before` None: the bottle made it; `after` None: it removed it."""

    path: str
    before: Entry | None
    after: Entry | None


def entry_of(found: os.stat_result, link: str = "") -> Entry:
    kind = _KINDS.get(stat.S_IFMT(found.st_mode), OTHER)
    return Entry(kind, stat.S_IMODE(found.st_mode), found.st_size if kind == FILE else 0, link)


def in_repository(path: str) -> bool:
    """Whether a path leads into a git repository's own files, on any file system that it may be carried to."""
    if "git" not in path.lower() and path.isascii():
        return False
    return any(is_repository(part) for part in path.split("/"))


def is_repository(name: str) -> bool:
    """`.git`, as case-blind file systems, HFS+ (which skips some characters) and NTFS (`git~1`) understand it."""
    plain = name.translate(_PASSED_OVER).casefold().rstrip(". ")
    return plain in (".git", "git~1")


class Tree(ABC):
    """A tree to look into: nothing in it is followed, run or waited for. `notes` says what was left out and why."""

    notes: list[str]

    @abstractmethod
    def entry(self, path: str) -> Entry | None:
        """What stands there; None for nothing, or where a parent is no directory."""

    @abstractmethod
    def names(self, path: str) -> list[str]:
        """What is in the directory `path` ("" for the top), sorted; nothing where there is none."""

    @abstractmethod
    def open(self, path: str) -> int:
        """A descriptor to read the regular file `path`, through no link. OSError when it cannot be had that way."""

    def walk(self, skip: Skip) -> Iterator[tuple[str, Entry]]:
        """All there is, a directory before its content. `skip(path, is_directory)` says KEEP, HIDE (not told, but entered) or
        PRUNE."""
        stack, count = [""], 0
        while stack:
            below = stack.pop()
            deeper = []
            for name in self.names(below):
                path = f"{below}/{name}" if below else name
                count += 1
                if count > MAX_ENTRIES:
                    self.notes.append(f"more than {MAX_ENTRIES} files: the rest was not looked at")
                    return
                entry = self.entry(path)
                verdict = skip(path, entry is not None and entry.kind == DIRECTORY)
                if entry is None or verdict == PRUNE:
                    continue
                if verdict == KEEP:
                    yield path, entry
                if entry.kind == DIRECTORY:
                    if path.count("/") >= MAX_DEPTH:
                        self.notes.append(f"{path}: too deep")
                        continue
                    deeper.append(path)
            stack.extend(reversed(deeper))


class Work(ABC):
    """`source` is the operator's directory, which the work is compared with and applied to; `result` the workspace as the
    agent left it, whole."""

    source: Path
    result: Tree

    @abstractmethod
    def changes(self) -> Sequence[Change]:
        """What differs from what was handed in, by content and not by time, sorted; nothing in a git repository's own
        files, and nothing that was left out when the tree was handed in."""

    @abstractmethod
    def before(self, path: str) -> bytes | None:
        """The content of a file when it was handed in; None where that is not known any more, or too long."""

    @abstractmethod
    def untouched(self, path: str) -> bool:
        """Whether what the operator has at `path` is still what was handed in (or, where nothing was, nothing)."""

    @property
    @abstractmethod
    def handed(self) -> Handed:
        """The branches and tags that were handed in."""

    @property
    def refs(self) -> Refs:
        """Those of the workspace itself."""
        return self.handed.own

    @property
    def whole(self) -> Tree:
        """All of the workspace, `.git` included; `result` may hold no more than the changes."""
        return self.result

    def inner_repositories(self) -> list[str]:
        """Git repositories below the top that the operator has not got; known after `changes`. They never go over."""
        return []

    def close(self) -> None:  # noqa: B027
        """Let go of what it holds open."""

    def host_edits(self) -> tuple[str, ...]:
        """Paths that the host has changed below a layer since it was begun, and otherwise than the bottle."""
        return ()
