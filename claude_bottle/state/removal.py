"""Remove a tree that an agent filled, without being led anywhere else.

No path below the top is ever used: everything goes by open directories, links are removed and never followed,
and a directory is first renamed, which the kernel refuses for a mount point, so that nothing mounted is
emptied. Depth costs nothing: what is nested is moved up to the top and dealt with there, so two descriptors
are enough for any tree.
"""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

from claude_bottle.errors import BottleError
from claude_bottle.state import beneath

if TYPE_CHECKING:
    from pathlib import Path

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_SHOWN = 5


def remove_tree(path: Path) -> None:
    """Remove `path` and all below it; nothing happens when it is missing, a link is removed itself.

    BottleError naming what could not be removed (another owner, immutable, a mount point); all the rest is
    gone.
    """
    try:
        parent = os.open(path.parent, _DIRECTORY)
    except FileNotFoundError:
        return
    try:
        if not _remove_plain(parent, path.name):
            left = _Emptying(parent, path.name).run()
            if left:
                raise _leftovers(path, left)
    finally:
        os.close(parent)


def _remove_plain(directory: int, name: str) -> bool:
    """Remove what needs no emptying. False when it is a directory with something in it."""
    try:
        os.unlink(name, dir_fd=directory)
    except FileNotFoundError:
        return True
    except (IsADirectoryError, PermissionError):  # POSIX lets unlink answer EPERM for a directory.
        if not stat.S_ISDIR(os.lstat(name, dir_fd=directory).st_mode):
            raise
    else:
        return True
    try:
        os.rmdir(name, dir_fd=directory)
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True


class _Emptying:
    """One removal: the top directory, and for each renamed directory the path it had, for the report."""

    def __init__(self, parent: int, name: str) -> None:
        self.parent, self.name = parent, name
        self.was: dict[str, str] = {}
        self.left: dict[str, str] = {}

    def run(self) -> dict[str, str]:
        """Empty and remove it. Returns what is left: former relative path → reason."""
        try:
            beneath.open_up(self.parent, self.name)
            top = os.open(self.name, _DIRECTORY, dir_fd=self.parent)
        except OSError as problem:
            return {".": _reason(problem)}
        try:
            while self._one_round(top):
                pass
        finally:
            os.close(top)
        try:
            os.rmdir(self.name, dir_fd=self.parent)
        except FileNotFoundError:
            return {}
        except OSError as problem:
            self.left.setdefault(".", _reason(problem))
        return self.left

    def _one_round(self, top: int) -> bool:
        """Go once through the top directory. True when there may be more to do."""
        again = False
        for name in os.listdir(top):
            former = self.was.get(name, name)
            if former in self.left:
                continue
            try:
                if not _remove_plain(top, name):
                    self._empty_directory(top, name, former)
                    again = True
            except OSError as problem:
                self.left[former] = _reason(problem)
        return again

    def _empty_directory(self, top: int, name: str, former: str) -> None:
        """Remove the plain content of a directory and move its directories up, to be dealt with in the next
        round."""
        if name not in self.was:
            name = self._move_up(top, name, top, former)
        beneath.open_up(top, name)
        directory = os.open(name, _DIRECTORY, dir_fd=top)
        try:
            for entry in os.listdir(directory):
                path = f"{former}/{entry}"
                try:
                    if not _remove_plain(directory, entry):
                        self._move_up(directory, entry, top, path)
                except OSError as problem:
                    self.left[path] = _reason(problem)
                    self.left.setdefault(former, "not empty")
        finally:
            os.close(directory)
        if former not in self.left:
            os.rmdir(name, dir_fd=top)

    def _move_up(self, source: int, name: str, top: int, former: str) -> str:
        """Rename a directory to a name of ours in the top one. A mount point answers EBUSY and stays as it
        is."""
        beneath.open_up(source, name)  # The kernel rewrites its "..": without write permission on it, that is refused.
        new = f".removing-{os.urandom(8).hex()}"
        os.rename(name, new, src_dir_fd=source, dst_dir_fd=top)
        self.was[new] = former
        return new


def _reason(problem: OSError) -> str:
    return problem.strerror or type(problem).__name__


def _leftovers(path: Path, left: dict[str, str]) -> BottleError:
    from claude_bottle.redact import printable

    shown = [f"{printable(str(path / name))}: {reason}" for name, reason in list(left.items())[:_SHOWN]]
    if len(left) > _SHOWN:
        shown.append(f"and {len(left) - _SHOWN} more")
    return BottleError(
        f"could not remove all of {path}",
        why="\n".join(shown),
        do="remove what is left as its owner or as root, then repeat; nothing else of it remains",
    )
