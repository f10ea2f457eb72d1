"""The one way to read, write and remove files of ours.

What is written appears whole or not at all and is on the disk when the call returns; what is read is a
regular file of ours that no one else may write to, or it is refused with the remedy and left as it is. No
link is ever followed in the last component; `beneath` follows none in any. Paths come from `state.paths`; nothing
here knows what they mean.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterable
from typing import TYPE_CHECKING

from claude_bottle.state.damage import Damaged as Damaged
from claude_bottle.state.damage import cannot as cannot
from claude_bottle.state.damage import damaged as damaged
from claude_bottle.state.damage import quoted

if TYPE_CHECKING:
    from pathlib import Path

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# How often in a row a file may be replaced while it is being opened. Once is rare.
_REPLACED = 100


def ensure_private_dir(path: Path) -> None:
    """Make `path` (and its parents) as a directory only we may enter, or check and tighten the one that is
    there.

    Damaged when it is a link, not a directory, someone else's, or writable by others.
    """
    if check_private_dir(path):
        return
    try:
        path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        os.mkdir(path, 0o700)
    except FileExistsError:
        pass  # Made by another of our processes in between: judged below like any other.
    except OSError as problem:
        raise cannot("make the directory", path, problem) from problem
    check_private_dir(path)


def check_private_dir(path: Path | str) -> bool:
    """False when there is no `path`; True when it is a directory of ours. Damaged as for
    `ensure_private_dir`.

    A directory others may only read is tightened to 0700. One they may write to is refused: what lies in it
    may not be ours.
    """
    try:
        fd = os.open(path, _DIRECTORY)
    except FileNotFoundError:
        return False
    except OSError as problem:
        if problem.errno in (errno.ELOOP, errno.ENOTDIR):
            raise Damaged(
                f"{path} is not a directory",
                why="a link or a file stands in its place",
                do=f"look at it (ls -ld {quoted(path)}), then move it away",
            ) from problem
        raise cannot("open the directory", path, problem) from problem
    try:
        found = os.fstat(fd)
        _demand_ours(path, found)
        if found.st_mode & 0o077:
            os.fchmod(fd, 0o700)
    finally:
        os.close(fd)
    return True


def write_atomic(path: Path, data: bytes, mode: int = 0o600) -> None:
    """Replace `path` by `data`: afterwards, and after a power cut at any moment, it holds the old bytes or
    the new.

    BottleError when the disk is full or read-only; the old file is then untouched.
    """
    directory = -1
    try:
        directory = os.open(path.parent, _DIRECTORY)
        write_atomic_at(directory, path.name, data, mode)
    except OSError as problem:
        raise cannot("write", path, problem) from problem
    finally:
        if directory >= 0:
            os.close(directory)


def write_atomic_at(directory: int, name: str, data: bytes, mode: int = 0o600) -> None:
    """As `write_atomic`, for `name` in an open directory. OSError as it comes."""
    replace_at(directory, name, (data,), mode)


def replace_at(directory: int, name: str, pieces: Iterable[bytes], mode: int = 0o600) -> int:
    """As `write_atomic_at`, for content that comes piece by piece. Returns the number of bytes."""
    temporary = f".{name}.{os.urandom(8).hex()}.tmp"
    # O_EXCL with an unguessable name: nobody can have put a file or a link there before us.
    fd = os.open(
        temporary,
        os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC,
        0o600,
        dir_fd=directory,
    )
    size = 0
    try:
        try:
            os.fchmod(fd, mode)
            for piece in pieces:
                write_all(fd, piece)
                size += len(piece)
            os.fsync(fd)
        finally:
            os.close(fd)
        os.rename(temporary, name, src_dir_fd=directory, dst_dir_fd=directory)
    except BaseException:
        _unlink_quietly(temporary, directory)
        raise
    os.fsync(directory)
    return size


def write_all(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def read_private(path: Path | str, limit: int) -> bytes:
    """The bytes of a file of ours, at most `limit`. FileNotFoundError when there is none.

    Damaged when it is a link, not regular, not ours, hard-linked elsewhere, writable by others, or larger.
    """
    fd = open_private(path, os.O_RDONLY)
    try:
        data = read_up_to(fd, limit)
    finally:
        os.close(fd)
    if len(data) > limit:
        raise _too_large(path, limit)
    return data


def open_private(path: Path | str, flags: int) -> int:
    """Open a file of ours for more than one read or write, mode 0600 if O_CREAT makes it. The caller closes
    it.

    FileNotFoundError when there is none; Damaged as for `read_private`.
    """
    for _ in range(_REPLACED):
        fd = _open(path, flags)
        found = os.fstat(fd)
        if found.st_nlink:
            break
        os.close(fd)  # replaced or removed since it was opened: what its name stands for now counts
    else:
        raise damaged(path, "it is replaced again and again")
    try:
        _demand_private_file(path, found)
    except BaseException:
        os.close(fd)
        raise
    return fd


def _open(path: Path | str, flags: int) -> int:
    try:
        return os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o600)
    except FileNotFoundError:
        raise
    except OSError as problem:
        if problem.errno == errno.ELOOP:
            raise _a_link(path) from problem
        raise cannot("open", path, problem) from problem


def read_json(path: Path | str, limit: int) -> dict[str, object]:
    """The JSON object in a file of ours. FileNotFoundError and Damaged as for `read_private`; Damaged, with
    line and column, when it is not one whole JSON object."""
    import json

    data = read_private(path, limit)
    try:
        value = json.loads(data.decode("utf-8"), object_pairs_hook=_without_twins)
    except json.JSONDecodeError as problem:
        raise damaged(path, f"line {problem.lineno}, column {problem.colno}: {problem.msg}") from problem
    except _Twin as problem:
        raise damaged(path, f"the key {str(problem)[:80]!r} stands there twice") from problem
    except (ValueError, RecursionError) as problem:  # not UTF-8, a number of thousands of digits, brackets without end
        raise damaged(path, f"not readable as JSON: {type(problem).__name__}") from problem
    if not isinstance(value, dict):
        raise damaged(path, f"expected a JSON object, found {type(value).__name__}")
    return value


def sync_directory(path: Path) -> None:
    """Make the names in `path` durable."""
    fd = os.open(path, _DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


class _Twin(Exception):
    """A key that stands twice in one object: two readers could take different ones."""


def _without_twins(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found: dict[str, object] = {}
    for key, value in pairs:
        if key in found:
            raise _Twin(key)
        found[key] = value
    return found


def read_up_to(fd: int, limit: int) -> bytes:
    """What can be read from `fd` to its end; one byte more than `limit` when there is more than that."""
    pieces, missing = [], limit + 1
    while missing > 0 and (piece := os.read(fd, min(missing, 1 << 20))):
        pieces.append(piece)
        missing -= len(piece)
    return b"".join(pieces)


def _demand_ours(path: Path | str, found: os.stat_result) -> None:
    if found.st_uid != os.geteuid():
        raise Damaged(
            f"{path} belongs to another user",
            why=f"its owner is uid {found.st_uid}, you are {os.geteuid()}",
            do="run as its owner, or set CLAUDE_BOTTLE_HOME to a directory of your own",
        )
    if found.st_mode & 0o022:
        raise Damaged(
            f"{path} may be written by others",
            why=f"its mode is {stat.S_IMODE(found.st_mode):04o}",
            do=f"check that its content is yours, then: chmod go-rwx {quoted(path)}",
        )


def _demand_private_file(path: Path | str, found: os.stat_result) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise Damaged(
            f"{path} is not a regular file",
            why=f"its kind is {stat.filemode(found.st_mode)[0]!r}",
            do=f"look at it (ls -l {quoted(path)}), then remove it",
        )
    _demand_ours(path, found)
    if found.st_nlink != 1:
        name = quoted(path)
        raise Damaged(
            f"{path} has another name",
            why=f"{found.st_nlink} hard links: someone else may write to it",
            do=f"replace it by a copy of its own: cp {name} {name}.copy && mv {name}.copy {name}",
        )


def _a_link(path: Path | str) -> Damaged:
    return Damaged(
        f"{path} is a link",
        why="our own files never are: someone else may have put it there",
        do=f"look where it points (ls -l {quoted(path)}), then remove it",
    )


def _too_large(path: Path | str, limit: int) -> Damaged:
    return Damaged(
        f"{path} is too large",
        why=f"more than {limit} bytes, which no file of its kind reaches",
        do=f"look at it, then move it away: mv {quoted(path)} {quoted(path)}.damaged",
    )


def _unlink_quietly(name: str, directory: int) -> None:
    try:
        os.unlink(name, dir_fd=directory)
    except OSError:
        pass
