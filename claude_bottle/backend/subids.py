"""Ranges of ids: the many users and groups of a build, each of which is nobody of consequence on this host.

Number 0 inside is whoever builds: an ordinary user themself, for root an id of a range that nobody else hands out. The
others are subordinate ids: an ordinary user's from /etc/subuid and /etc/subgid, mapped by newuidmap(1), for root the ones
above. `reclaim` gives what they left back to number 0. A map lives as long as its user namespace; nothing is kept.
"""

from __future__ import annotations

import functools
import os
import socket
import stat
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from claude_bottle import proc
from claude_bottle.backend import childhood, idmaps
from claude_bottle.backend import namespaces as ns
from claude_bottle.digests import sha256
from claude_bottle.errors import BottleError
from claude_bottle.state.removal import remove_tree

COUNT = 65536  # what Debian's own ids fill
# Above the ids of root's bottles (`bubblewrap.owners`), below 2^31.
_BASE, _SPAN = 0x78000000, 2040
_TABLES = (Path("/etc/subuid"), Path("/etc/subgid"))


class Range(NamedTuple):
    """Host ids behind the numbers 0 to COUNT - 1 of a user namespace: 0 is `user` and `group`, the others follow each other
    from `users` and `groups` on."""

    user: int
    group: int
    users: int
    groups: int


def own(name: str) -> Range | None:
    """What this user may map, for the build `name`; None where it is no more than one id, as far as has been tried."""
    if os.geteuid() == 0:
        base = _BASE + int.from_bytes(sha256(name.encode()).digest()[:4], "big") % _SPAN * COUNT
        return Range(base, base, base + 1, base + 1)
    return _subordinate()


@functools.cache
def _subordinate() -> Range | None:
    found = [_entry(table) for table in _TABLES]
    if None in found or not (proc.find("newuidmap") and proc.find("newgidmap")):
        return None
    made = Range(os.geteuid(), os.getegid(), found[0] or 0, found[1] or 0)
    try:
        _within(made, lambda: None)
    except BottleError:
        return None  # not set-user-id here, or this kernel has no namespaces for us
    return made


def _entry(table: Path) -> int | None:
    """Where this user's first large enough range begins; subuid(5)."""
    import pwd

    names = {str(os.geteuid())}
    with suppress(KeyError):
        names.add(pwd.getpwuid(os.geteuid()).pw_name)
    with suppress(OSError):
        for line in table.read_text(errors="replace").splitlines():
            name, _, rest = line.strip().partition(":")
            start, _, count = rest.partition(":")
            if name in names and start.isdecimal() and count.isdecimal() and int(count) >= COUNT - 1:
                return int(start)
    return None


def write(process: int, ids: Range) -> None:
    """Map them for the new user namespace of a process of ours. BottleError when that is refused."""
    for file, program, first, rest in (("uid_map", "newuidmap", ids.user, ids.users),
                                       ("gid_map", "newgidmap", ids.group, ids.groups)):  # fmt: skip
        if os.geteuid() == 0:
            idmaps.write(f"/proc/{process}/{file}", f"0 {first} 1\n1 {rest} {COUNT - 1}\n")
        else:
            words = (process, 0, first, 1, 1, rest, COUNT - 1)
            proc.run([proc.find(program) or program, *map(str, words)])


def enter(sync: socket.socket, flags: int) -> None:
    """In a child: a user namespace of its own and `flags`, with the maps that the parent writes when it reads `u`, and
    says with `m`."""
    ns.prctl(ns.PR_SET_DUMPABLE, 1)  # or it is not ours for newuidmap
    ns.unshare(ns.CLONE_NEWUSER | flags)
    sync.send(b"u")
    if sync.recv(1) != b"m":
        raise BottleError("cannot set up the sandbox", why="its ids were not mapped")
    os.setgroups([])
    os.setresgid(0, 0, 0)
    os.setresuid(0, 0, 0)


def reclaim(place: Path) -> None:
    """Make everything below `place` its builder's own, readable and removable: what a build left that has come to its end.
    Nothing may be at work there any more. For root, who needs no right, nothing happens."""
    ids = None if os.geteuid() == 0 else own("")
    if ids is not None:
        _within(ids, lambda: _take(place))


def remove(place: Path) -> None:
    """Remove a tree of this user's, also where a build left things of its own in it. BottleError as from `remove_tree`."""
    try:
        remove_tree(place)
    except BottleError:
        ids = None if os.geteuid() == 0 else own("")
        if ids is None:
            raise
        _within(ids, lambda: remove_tree(place))
        remove_tree(place)


def _within(ids: Range, work: Callable[[], None]) -> None:
    """`work` as number 0 of the range, in a child. Raises what it raised, as BottleError."""
    ours, theirs = socket.socketpair()
    report, report_end = os.pipe()
    child = os.fork()
    if child == 0:

        def start() -> None:
            ours.close()
            os.close(report)
            childhood.forget_signals()
            enter(theirs, 0)
            work()
            os._exit(0)

        childhood.run_child(start, lambda: report_end)
    os.close(report_end)
    theirs.close()
    try:
        if ours.recv(1) == b"u":
            try:
                write(child, ids)
                ours.send(b"m")
            finally:
                ours.close()  # a child that waits in vain ends
        failure = childhood.read_all(report)
    finally:
        ours.close()
        os.close(report)
        os.waitpid(child, 0)
    if failure:
        raise childhood.rebuild(failure)


def _take(place: Path) -> None:
    for _, directories, others, fd in os.fwalk(place, follow_symlinks=False):
        for name in (*directories, *others):
            found = os.stat(name, dir_fd=fd, follow_symlinks=False)
            if found.st_uid or found.st_gid:
                os.chown(name, 0, 0, dir_fd=fd, follow_symlinks=False)
            least = 0o700 if stat.S_ISDIR(found.st_mode) else 0o600 if stat.S_ISREG(found.st_mode) else 0
            if least and stat.S_IMODE(found.st_mode) & (0o7000 | least) != least:
                os.chmod(name, found.st_mode & 0o777 | least, dir_fd=fd)
