"""Fills a bottle's volumes: directories of this host as the stream of `packing`, for the first process to write there.

Opened beneath the directory, one component at a time and no link followed; regular files, directories and links as such,
holes as holes. What cannot be sent whole fails the launch; of what a bottle has left, what is too deep is left out and told.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from claude_bottle import log
from claude_bottle.backend import tree
from claude_bottle.backend.docker.packing import WHOLE, Packing
from claude_bottle.errors import BottleError
from claude_bottle.redact import printable
from claude_bottle.state import ignore

if TYPE_CHECKING:
    from collections.abc import Callable

    from claude_bottle.backend.docker.wire import Wire


# For the bottle's disk to take what is on its way.
_SECONDS = 120.0


def fill(wire: Wire, source: Path, *, ignoring: bool) -> None:
    """What is in the directory `source`, into the next one that the first process waits to fill. `ignoring`: somebody's
    project, without what its `.dockerignore` leaves out. BottleError when not all of it arrived."""
    sending = Sending(wire.pour, ignore.read(str(source)) if ignoring else None)
    try:
        sending.tree(os.fsencode(source))
        sending.say(WHOLE)
    except (BrokenPipeError, ConnectionResetError):
        pass  # it says why
    except OSError as failure:
        raise BottleError("cannot fill a bottle", why=str(failure)) from failure
    said = wire.hear(_SECONDS)
    if said.get("op") != "filled":
        raise BottleError("cannot fill a bottle", why=str(said.get("why"))[:500])
    if sending.too_deep:
        log.warn(tree.left_out(sending.too_deep))


class Sending(Packing):
    """`ignored`: the rules of somebody's project, which must be had whole."""

    def __init__(self, pour: Callable[[bytes], object], ignored: ignore.Ignored | None) -> None:
        super().__init__(-1)
        self._pour, self._ignored, self._entries = pour, ignored, 0
        self.too_deep: list[str] = []

    def one(self, held: int, name: bytes, where: bytes, depth: int) -> int:
        self._entries += 1
        if self._entries > tree.MAX_ENTRIES:
            raise BottleError("cannot fill a bottle", why="too many files")
        path = os.fsdecode(where)
        # A directory is entered all the same where something below it may be wanted.
        if self._ignored and (self._ignored.prunes if _is_directory(held, name) else self._ignored.ignores)(path):
            return -1
        return super().one(held, name, where, depth)

    def note(self, where: bytes, why: bytes) -> None:
        said = f"{printable(os.fsdecode(where[-200:]))}: {why.decode()}"
        if self._ignored is not None:
            raise BottleError("cannot fill a bottle", why=said)
        self.too_deep.append(said)

    def send(self) -> None:
        self._pour(bytes(self.waiting))
        self.waiting.clear()


def _is_directory(held: int, name: bytes) -> bool:
    import stat

    return stat.S_ISDIR(os.stat(name, dir_fd=held, follow_symlinks=False).st_mode)
