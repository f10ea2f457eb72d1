"""Terminals of a bottle's own: a devpts that only it has, from which the keeper takes masters.

The launcher mounts it on the stage, for the bottle's user and with a bound on how many terminals it gives, since all
namespaces of a machine share one pool. The keeper holds its directory from before the agent starts; opening a terminal
there needs no process and follows nothing that the bottle could change. Slaves are reached through their master and
never by name.
"""

from __future__ import annotations

import errno
import fcntl
import os

from claude_bottle.backend import namespaces as ns
from claude_bottle.errors import BottleError

NAME = "pts"
MAXIMUM = 128
# asm-generic/ioctls.h, alike on x86_64 and aarch64
_TIOCSPTLCK, _TIOCGPTPEER = 0x40045431, 0x5441


def mount(stage: str, owner: int) -> None:
    """An empty devpts at `stage`/pts whose terminals belong to `owner` (uid and gid)."""
    os.mkdir(f"{stage}/{NAME}", 0o755)
    options = f"newinstance,ptmxmode=0666,mode=620,uid={owner},gid={owner},max={MAXIMUM}"
    ns.mount("devpts", f"{stage}/{NAME}", "devpts", ns.MS_NOSUID | ns.MS_NOEXEC, options)


def directory(first: int) -> int:
    """The bottle's /dev/pts, by the process id of its first process; before any foreign code runs."""
    root = os.open(f"/proc/{first}/root", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        return ns.open_beneath("dev/pts", directory=root)
    finally:
        os.close(root)


def open_pair(pts: int) -> tuple[int, int]:
    """(master, slave) of a new terminal. BottleError if there is none left."""
    master = -1
    try:
        master = os.open("ptmx", os.O_RDWR | os.O_NOCTTY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=pts)
        fcntl.ioctl(master, _TIOCSPTLCK, bytes(4))
        slave = fcntl.ioctl(master, _TIOCGPTPEER, os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError as failure:
        if master >= 0:
            os.close(master)
        if failure.errno == errno.ENOSPC:
            why = f"all {MAXIMUM} it may have are in use"
            do = "end a program in it that holds some, or run yours without a terminal"
        else:
            why, do = os.strerror(failure.errno or 0), ""
        raise BottleError("cannot open a terminal in the bottle", why=why, do=do) from None
    return master, slave
