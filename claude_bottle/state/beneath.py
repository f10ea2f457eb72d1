"""Paths below an open directory, walked by descriptor: no link is followed in any component, the last included.

For trees that someone else writes (an agent's home, a repository): whatever is swapped in along the way, nothing outside
of the directory one began with is ever opened.
"""

from __future__ import annotations

import os
import stat

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def open_beneath(directory: int, relative: str, flags: int = os.O_RDONLY) -> int:
    """Open `relative` below an open directory without following a link in any component, the last included.

    OSError (ELOOP, ENOTDIR, ENOENT…) when it cannot be had that way; ValueError for a path that is not plain.
    """
    parts = plain_parts(relative)
    current = os.dup(directory)
    try:
        for part in parts[:-1]:
            below = os.open(part, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=current)
            os.close(current)
            current = below
        return os.open(parts[-1], flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=current)
    finally:
        os.close(current)


def open_up(directory: int, relative: str) -> None:
    """Give ourselves the right to read what is ours at `relative` and on the way to it, whatever modes an agent left there;
    through no link. OSError when it is not there, or not ours."""
    current = os.dup(directory)
    try:
        for part in plain_parts(relative):
            below = os.open(part, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=current)
            os.close(current)
            current = below
            mode = os.fstat(current).st_mode
            needed = 0o700 if stat.S_ISDIR(mode) else 0o600 if stat.S_ISREG(mode) else 0
            if mode & needed != needed:
                # fchmod refuses O_PATH; the magic link leads to this very inode.
                os.chmod(f"/proc/self/fd/{current}", stat.S_IMODE(mode) | needed)
    finally:
        os.close(current)


def make_dirs_beneath(directory: int, relative: str, mode: int = 0o700) -> int:
    """Make (with `mode`, less the umask) and open the directories of `relative` below an open directory, following no
    link. The caller closes it.

    OSError when something else stands in the place of one; ValueError for a path that is not plain.
    """
    current = os.dup(directory)
    try:
        for part in plain_parts(relative) if relative else ():
            try:
                os.mkdir(part, mode, dir_fd=current)
            except FileExistsError:
                pass  # Whatever it is, only a directory can be opened now.
            below = os.open(part, _DIRECTORY, dir_fd=current)
            os.close(current)
            current = below
    except BaseException:
        os.close(current)
        raise
    return current


def plain_parts(relative: str) -> list[str]:
    """The components of a relative path. ValueError when one is empty, `.`, `..` or holds a NUL."""
    parts = relative.split("/")
    if any(part in ("", ".", "..") or "\0" in part for part in parts):
        raise ValueError(f"not a plain relative path: {relative!r}")
    return parts
