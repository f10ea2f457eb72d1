"""Copy single conversation files between a hostile home and our archive, by open directories only.

A name counts only if each of its components is plain and it is a `*.jsonl` below a conversation directory.
Copies are made beside their target and renamed, so a reader of the archive sees a file whole or not at all.
An OSError that comes out of here is about our side (a full disk); whatever is wrong with the agent's side is
noted in the `Budget`.
"""

from __future__ import annotations

import json
import os
import stat
import time
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from claude_bottle.patterns import regex
from claude_bottle.state import beneath, files

MAX_FILES = 500
MAX_FILE = 256 << 20
MAX_TOTAL = 512 << 20
_MAX_VISITED = 20_000
_MAX_DEPTH = 8
_MAX_NOTES = 100
_CHUNK = 1 << 20
_COMPONENT = regex(r"[A-Za-z0-9._-]{1,200}")
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class ArchivedFile(NamedTuple):
    """One file of an archive. `name` is relative to the home, `size` is of what was kept, `mtime_ns` the
    agent's; `whole` is False when it was larger than we keep."""

    name: str
    size: int
    mtime_ns: int
    whole: bool

    @classmethod
    def from_dict(cls, data: dict[str, object]) -> ArchivedFile:
        """TypeError or KeyError when it is not one."""
        values = [data[field] for field in cls._fields]
        if [type(value) for value in values] != [str, int, int, bool]:
            raise TypeError("not an archived file")
        return cls(*values)  # type: ignore[arg-type]  # just checked


class Budget:
    """How much one snapshot may still take, what it took, and what it had to leave out."""

    def __init__(self, *, partial: bool = False) -> None:
        self.bytes_left = MAX_TOTAL
        self.files: list[ArchivedFile] = []
        self.skipped: list[str] = []
        self.partial = partial

    def skip(self, name: str, reason: str) -> None:
        """Note something left out; `name` may be anything an agent thought of."""
        from claude_bottle.redact import printable

        self.partial = True
        if len(self.skipped) < _MAX_NOTES:
            self.skipped.append(f"{printable(name, width=200)}: {reason}")


def is_conversation(name: str, directories: Sequence[str]) -> bool:
    """Whether a home-relative name is one we archive: `*.jsonl` below one of `directories`, plain components
    only."""
    if not name.endswith(".jsonl") or not any(name.startswith(f"{directory}/") for directory in directories):
        return False
    parts = name.split("/")
    return len(parts) <= _MAX_DEPTH and all(_COMPONENT.fullmatch(p) and p not in (".", "..") for p in parts)


def find(home: int, directories: Sequence[str], budget: Budget) -> list[str]:
    """The names of all conversation files below an open home, newest first."""
    found: list[tuple[int, str]] = []
    pending = list(directories)
    visited = 0
    while pending and visited < _MAX_VISITED:
        directory = pending.pop()
        for name, info in _entries(home, directory, budget):
            visited += 1
            if stat.S_ISDIR(info.st_mode) and directory.count("/") < _MAX_DEPTH - 2:
                pending.append(name)
            elif is_conversation(name, directories):
                found.append((-info.st_mtime_ns, name))
    if pending:
        budget.skip(pending[0], "more than is looked through")
    return [name for _, name in sorted(found)]


def archive_file(home: int, archive: int, name: str, budget: Budget) -> None:
    """Copy one file into an open archive unless what is there is as good. OSError when the archive cannot be
    written."""
    try:
        source = _open(home, name, os.O_RDONLY)
    except (OSError, ValueError) as problem:
        if not isinstance(problem, FileNotFoundError):
            budget.skip(name, "a link stands in its path, or it is not readable")
        return
    try:
        info = os.fstat(source)
        if not stat.S_ISREG(info.st_mode):
            budget.skip(name, "not a regular file")
        elif len(budget.files) >= MAX_FILES or budget.bytes_left <= 0:
            budget.skip(name, "more than is kept")
        elif info.st_size > 0:
            _copy_if_newer(source, info, archive, name, budget)
    finally:
        os.close(source)


def seed_file(source: Path, home: int, file: ArchivedFile) -> bool:
    """Copy one archived file into an open home, never over anything there. False when something is in its
    place."""
    parent, _, base = file.name.rpartition("/")
    try:
        directory = beneath.make_dirs_beneath(home, parent)
    except (NotADirectoryError, ValueError):
        return False
    try:
        if _stat(base, directory) is not None:
            return False
        fd = files.open_private(source, os.O_RDONLY)
        try:
            data = _without_torn_end(files.read_up_to(fd, MAX_FILE))
        finally:
            os.close(fd)
        files.write_atomic_at(directory, base, data)
        os.utime(base, ns=(file.mtime_ns, file.mtime_ns), dir_fd=directory, follow_symlinks=False)
        return True
    finally:
        os.close(directory)


def _entries(home: int, directory: str, budget: Budget) -> list[tuple[str, os.stat_result]]:
    try:
        fd = _open(home, directory, _DIRECTORY)
    except FileNotFoundError:
        return []
    except (OSError, ValueError):
        budget.skip(directory, "a link stands in its path, or it is not readable")
        return []
    try:
        with os.scandir(fd) as entries:
            some = islice(entries, _MAX_VISITED)
            return [(f"{directory}/{entry.name}", entry.stat(follow_symlinks=False)) for entry in some]
    except OSError:
        budget.skip(directory, "not readable")
        return []
    finally:
        os.close(fd)


def _open(home: int, name: str, flags: int) -> int:
    """As `open_beneath`; what the agent has closed to everybody, itself included, is opened again."""
    try:
        return beneath.open_beneath(home, name, flags)
    except PermissionError:
        beneath.open_up(home, name)
        return beneath.open_beneath(home, name, flags)


def _copy_if_newer(source: int, info: os.stat_result, archive: int, name: str, budget: Budget) -> None:
    size = min(info.st_size, MAX_FILE, budget.bytes_left)
    mtime = min(info.st_mtime_ns, time.time_ns())
    parent, _, base = name.rpartition("/")
    directory = beneath.make_dirs_beneath(archive, parent)
    try:
        kept = _stat(base, directory)
        if kept is None or size > kept.st_size or (size == kept.st_size and mtime > kept.st_mtime_ns):
            size = _copy(source, directory, base, size)
            os.utime(base, ns=(mtime, mtime), dir_fd=directory, follow_symlinks=False)
        else:  # Empty, shorter or older: what we have is better.
            size, mtime = kept.st_size, kept.st_mtime_ns
    finally:
        os.close(directory)
    budget.bytes_left -= size
    budget.files.append(ArchivedFile(name, size, mtime, whole=size >= info.st_size))
    if size < info.st_size:
        budget.skip(name, f"only its first {size} bytes are kept")


def _copy(source: int, directory: int, base: str, size: int) -> int:
    """Copy up to `size` bytes, by a temporary file and a rename. Returns how many there were: it may have
    shrunk."""

    def pieces() -> Iterator[bytes]:
        left = size
        while left > 0 and (piece := os.read(source, min(left, _CHUNK))):
            left -= len(piece)
            yield piece

    return files.replace_at(directory, base, pieces())


def _without_torn_end(data: bytes) -> bytes:
    """All but a last line that a crash left unfinished: an agent program may refuse a conversation that ends
    in it."""
    end = data.rfind(b"\n") + 1
    if end < len(data):
        try:
            json.loads(data[end:])
        except (ValueError, RecursionError):
            return data[:end]
    return data


def _stat(name: str, directory: int) -> os.stat_result | None:
    try:
        return os.lstat(name, dir_fd=directory)
    except FileNotFoundError:
        return None
