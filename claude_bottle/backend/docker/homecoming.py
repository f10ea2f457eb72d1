"""Brings what a bottle wrote back to its state directory, whole or not at all.

All of it is copied beside what is there and takes its place in one step, so a disk that fills up or a keeper that dies
half-way leaves the former. Parts (a growing conversation) are brought file by file into what is there. Where it lies
while the bottle runs, and how it is read, is `tree`'s and `export`'s business.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Sequence
from pathlib import Path

from claude_bottle.backend.tree import Copy, opened
from claude_bottle.errors import BottleError
from claude_bottle.state.beneath import make_dirs_beneath, open_beneath, plain_parts
from claude_bottle.state.replacing import replace as replace


def fetch(source: int, target: Path, shown_as: str, without: Iterable[str]) -> list[str]:
    """All of the directory `source`, which the bottle sees at `shown_as`, into the place of `target`; what was too deep, and
    left out. `without`: paths inside that are mounts of the host's."""
    copy = Copy(without=_beneath(shown_as, without))
    _reach(source)

    def fill(directory: int) -> None:
        copy.whole(source, directory)
        copy.demand_all(but=copy.deep)

    replace(target, fill)
    return copy.left_out()


def fetch_names(
    source: int, target: Path, shown_as: str, without: Iterable[str], names: Sequence[str]
) -> list[str]:  # fmt: skip
    """As `fetch`, but only what lies at `names`, into the same places beneath `target`, replacing file by file."""
    copy = Copy(fresh=False, without=_beneath(shown_as, without))
    _reach(source)
    with opened(target) as directory:
        for name in names:
            *parents, last = plain_parts(name)
            try:
                held = open_beneath(source, "/".join(parents), os.O_RDONLY | os.O_DIRECTORY) if parents else os.dup(source)
            except OSError:
                continue  # it does not exist, or it is nothing that is fetched
            try:
                place = make_dirs_beneath(directory, "/".join(parents))
                try:
                    copy.one(held, place, last, name)
                finally:
                    os.close(place)
            except OSError as failure:
                raise BottleError(f"cannot fetch {name}", why=str(failure)) from failure
            finally:
                os.close(held)
    copy.demand_all(but=copy.deep)
    return copy.left_out()


def _reach(source: int) -> None:
    """Open up a directory that an agent has closed even to its owner, where that is us: what lies in it, the copying does."""
    try:
        os.stat(".", dir_fd=source)
    except PermissionError:
        os.fchmod(source, stat.S_IMODE(os.fstat(source).st_mode) | 0o700)


def _beneath(shown_as: str, paths: Iterable[str]) -> frozenset[str]:
    """Those of `paths` that lie in the directory `shown_as`, relative to it."""
    return frozenset(path[len(shown_as) + 1 :] for path in paths if path.startswith(shown_as + "/"))
