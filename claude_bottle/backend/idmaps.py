"""Id maps: which ids of a user namespace are which of this host, for processes and for the owners of files.

A map lives as long as its user namespace; nothing is kept.
"""

from __future__ import annotations

import os
import signal
from itertools import pairwise

from claude_bottle.backend import namespaces as ns

_IDS = (1 << 32) - 1  # the last one stands for no id


def write_maps(process: int | str, inside: tuple[int, int], outside: tuple[int, int], *, others: bool = False) -> None:
    """Map one uid and one gid for the user namespace of a process; with `others` every other one to itself."""
    for file, inner, outer in zip(("uid_map", "gid_map"), inside, outside, strict=True):
        extents = [(inner, outer, 1), *(_themselves({inner, outer}) if others else ())]
        write(f"/proc/{process}/{file}", "".join(f"{one} {other} {count}\n" for one, other, count in extents))


def _themselves(but: set[int]) -> list[tuple[int, int, int]]:
    """Extents that map every id but these to itself."""
    edges = [-1, *sorted(but), _IDS]
    return [(low + 1, low + 1, high - low - 1) for low, high in pairwise(edges) if high - low > 1]


def mapping_namespace(on_disk: tuple[int, int], shown: tuple[int, int], *, others: bool = False) -> int:
    """As root: a descriptor of a user namespace for id-mapped mounts that show files of `on_disk` (uid,
    gid) as those of `shown`, and with `others` those of everybody else as theirs."""
    ready, wake = os.pipe(), os.pipe()
    helper = os.fork()
    if helper == 0:
        try:
            ns.unshare(ns.CLONE_NEWUSER)
            os.write(ready[1], b"u")
            os.close(wake[1])
            os.read(wake[0], 1)
        finally:
            os._exit(0)
    try:
        os.close(ready[1])
        if os.read(ready[0], 1) != b"u":
            raise OSError("cannot create a user namespace")
        write_maps(helper, on_disk, shown, others=others)
        return os.open(f"/proc/{helper}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
    finally:
        for descriptor in (ready[0], *wake):
            os.close(descriptor)
        os.kill(helper, signal.SIGKILL)
        os.waitpid(helper, 0)


def write(path: str, text: str) -> None:
    """A file of /proc takes its text in one write."""
    file = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(file, text.encode())
    finally:
        os.close(file)
