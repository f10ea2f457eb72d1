"""Reading and writing inside a home the agent has written: no link is followed, ever.

Reading goes through `state.files`, which walks component by component and opens nothing but what it looked
at. What stands where we must write (a link, a file in place of a directory, a directory in place of a file)
is moved aside, not deleted: it may be the agent's work.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

from claude_bottle.state import beneath, files

_ENTRY_LIMIT = 10_000
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_LOOK = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class AgentHome:
    """Access to one private home. `relative` arguments are constants of ours or checked names, never agent
    input."""

    def __init__(self, home: Path) -> None:
        self.home = home

    def read(self, relative: str, limit: int) -> bytes | None:
        """A regular file's bytes, or None (missing, a link, a FIFO, unreadable, larger than `limit`
        bytes)."""
        try:
            with (
                _closing(os.open(self.home, _LOOK)) as home,
                open(beneath.open_beneath(home, relative), "rb") as file,
            ):
                if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                    return None
                data = file.read(limit + 1)
        except OSError:
            return None
        return data if len(data) <= limit else None

    def write(self, relative: str, data: bytes, mode: int = 0o600) -> None:
        """Replace a file (atomically); the directories above it are made as needed. OSError as it
        comes."""
        path = PurePosixPath(relative)
        current = _enter(self.home, None)
        try:
            for part in path.parent.parts:
                _clear(part, current, wanted=stat.S_ISDIR)
                below = _enter(part, current)
                os.close(current)
                current = below
            _clear(path.name, current, wanted=stat.S_ISREG)
            files.write_atomic_at(current, path.name, data, mode)
        finally:
            os.close(current)

    def remove(self, relative: str) -> None:
        """Remove a file or link; one that is not there is no error."""
        parent, _, name = relative.rpartition("/")
        try:
            with (
                _closing(os.open(self.home, _LOOK)) as home,
                _closing(beneath.open_beneath(home, parent, os.O_DIRECTORY)) as directory,
            ):
                os.unlink(name, dir_fd=directory)
        except OSError:
            pass

    def files(self, relative: str) -> list[tuple[str, os.stat_result]]:
        """The regular files directly inside a directory, by name. Empty when it is missing or reached by a
        link."""
        try:
            with (
                _closing(os.open(self.home, _LOOK)) as home,
                _closing(beneath.open_beneath(home, relative, os.O_DIRECTORY)) as directory,
                os.scandir(directory) as entries,
            ):
                some = [entry for entry, _ in zip(entries, range(_ENTRY_LIMIT), strict=False)]
                regular = [entry for entry in some if entry.is_file(follow_symlinks=False)]
                return sorted((entry.name, entry.stat(follow_symlinks=False)) for entry in regular)
        except OSError:
            return []


def whole_lines(data: bytes) -> bytes:
    """All but a last line that was not finished: an agent program may refuse a conversation that ends in it."""
    end = data.rfind(b"\n") + 1
    if end < len(data):
        try:
            json.loads(data[end:])
        except (ValueError, RecursionError):
            return data[:end]
        return data + b"\n"
    return data


def parse_object(data: bytes | None) -> dict[str, Any]:
    """The JSON object in `data`; {} when there is none or it is broken."""
    try:
        found = json.loads(data or b"{}")
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _enter(name: str | Path, parent: int | None) -> int:
    """Open a directory, made if it is missing; one the agent closed to its owner is opened up again first."""
    if parent is not None:
        try:
            os.mkdir(name, 0o700, dir_fd=parent)
        except FileExistsError:
            pass  # What is there must be a directory, or the next line fails.
    with _closing(os.open(name, _LOOK, dir_fd=parent)) as look:
        mode = stat.S_IMODE(os.fstat(look).st_mode)
        if mode & 0o700 != 0o700:
            os.chmod(f"/proc/self/fd/{look}", mode | 0o700)
        return os.open(".", _DIRECTORY, dir_fd=look)


def _clear(name: str, directory: int, *, wanted: Callable[[int], bool]) -> None:
    """Move aside whatever is called `name` and is not of the wanted kind."""
    try:
        found = os.stat(name, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        return
    if not wanted(found.st_mode):
        aside = f"{name}.broken-{os.urandom(4).hex()}"
        os.rename(name, aside, src_dir_fd=directory, dst_dir_fd=directory)


@contextmanager
def _closing(descriptor: int) -> Iterator[int]:
    try:
        yield descriptor
    finally:
        os.close(descriptor)
