"""Host directories on their way into a bottle, by descriptor.

Every source is opened component by component without following a link, then copied as a detached mount, so nobody can
swap the path between check and use. With a shift of owners (root) the copies of writable sources are id-mapped. Runs in
a child: the copy belongs to the mount namespace it is made in.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable

from claude_bottle.backend import namespaces as ns
from claude_bottle.errors import BottleError, EnvironmentLacks, Refused
from claude_bottle.values import dataclass

# user_namespace(owner uid, owner gid, others) → descriptor of a namespace that maps these to the bottle's user, and with
# `others` everybody else to themselves
OwnerShift = Callable[[int, int, bool], int]


@dataclass(frozen=True)
class Source:
    """One host path for the stage. `name` is its name there. `shared`: a layer of an overlay, whose files may have other
    owners besides."""

    path: str
    name: str
    writable: bool
    shared: bool = False


@dataclass(frozen=True)
class Opened:
    """A source as a detached mount, and whether it is a directory."""

    source: Source
    tree: int
    directory: bool


def open_source(source: Source, shift: OwnerShift | None) -> Opened:
    """Refused for a link or something that is neither file nor directory, EnvironmentLacks if owners cannot
    be mapped, BottleError if it cannot be opened."""
    descriptor = _open_without_links(source.path)
    try:
        found = os.fstat(descriptor)
        directory = stat.S_ISDIR(found.st_mode)
        if not directory and not stat.S_ISREG(found.st_mode):
            raise Refused(f"cannot show {source.path} in a bottle", why="it is neither a directory nor a regular file")
        tree = ns.open_tree(descriptor)
    finally:
        os.close(descriptor)
    if shift is not None and (source.writable or source.shared):
        _map_owner(source, tree, shift(found.st_uid, found.st_gid, source.shared))
    return Opened(source, tree, directory)


def _open_without_links(path: str) -> int:
    if not os.path.isabs(path) or os.path.normpath(path) != path:
        raise Refused(f"cannot show {path} in a bottle", why="it is not an absolute, plain path")
    root = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        return ns.open_beneath(path.lstrip("/") or ".", directory=root)
    except OSError as error:
        if error.errno == errno.ELOOP:
            why, do = (
                "a part of this path is a symbolic link",
                f"name the real path: {os.path.realpath(path)}",
            )
            raise Refused(f"cannot show {path} in a bottle", why=why, do=do) from None
        raise BottleError(f"cannot open {path}", why=os.strerror(error.errno or 0)) from None
    finally:
        os.close(root)


def _map_owner(source: Source, tree: int, user_namespace: int) -> None:
    try:
        ns.idmap_tree(tree, user_namespace)
    except OSError as error:
        raise EnvironmentLacks(
            f"cannot map the owner of {source.path} for a bottle started by root",
            why=f"its file system does not support id-mapped mounts ({os.strerror(error.errno or 0)})",
            do="start the bottle as an ordinary user, or keep the directory on ext4, xfs, btrfs or tmpfs",
        ) from None
