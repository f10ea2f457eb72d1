"""What the host changes in a directory that a bottle's layer lies over: by the kernel's clock of files, and by their names.

Whatever changes a file moves its ctime, which only the kernel sets; a name that is gone leaves no trace but that it was
there, so the names are noted once, in a bottle's first moments. A name that went before that is not missed. Only looks, as
far as one may, through no link; nothing is waited for and nothing changed but the note beside the layers.
"""

from __future__ import annotations

import os
import stat
import zlib
from typing import TYPE_CHECKING, NamedTuple

from claude_bottle.errors import BottleError
from claude_bottle.state import damage, files
from claude_bottle.state.merged import Merged

if TYPE_CHECKING:
    from pathlib import Path

    from claude_bottle.state.layers import Layers

NAMES = "names"
MOST_NAMES, MOST_EDITS = 1_000_000, 10_000
_NOTE_LIMIT, _SHOWN = 256 << 20, 5
_REPOSITORY = ".git"
# git rewrites this when somebody only looks.
_LOOKED_AT = "index"
_MOST_COMPARED, _COMPARED_BYTES, _CHUNK = 1000, 8 << 20, 1 << 20


class _Seen(NamedTuple):
    """One look at all of it. `newer`: what was changed, a repository for what is in it; `directories`: those where names came
    or went; `whole`: whether all names were seen."""

    names: set[str]
    newer: set[str]
    directories: set[str]
    whole: bool


def edited(begun: Layers, *, note: bool = False) -> list[str]:
    """What the host has changed of the original since there is a layer over it, sorted: changed and new files, and names that
    are gone; where it is not known which went, the directory. `note`: note the names where that was not done yet."""
    seen, known = _look(begun), names(begun)
    if known is None or not seen.whole:
        gone = seen.directories
    else:
        missing = known - seen.names
        gone = {path for path in missing if path.rpartition("/")[0] not in missing}
    if note and known is None and seen.whole:
        data = zlib.compress("\0".join(sorted(seen.names)).encode("utf-8", "surrogateescape"), 1)
        files.write_atomic(begun.directory / NAMES, data)
    return sorted(seen.newer | gone)[:MOST_EDITS]


def names(begun: Layers) -> frozenset[str] | None:
    """The names that were there, as paths; None where they were not noted. Damaged for a note that makes no sense."""
    try:
        data = files.read_private(begun.directory / NAMES, _NOTE_LIMIT)
    except FileNotFoundError:
        return None
    unpacking = zlib.decompressobj()
    try:
        text = unpacking.decompress(data, _NOTE_LIMIT).decode("utf-8", "surrogateescape")
    except (zlib.error, ValueError) as problem:
        raise damage.damaged(begun.directory / NAMES, str(problem)) from problem
    return frozenset(text.split("\0")) - {""}


def hand_on(origin: Path, directory: Path) -> None:
    """What is noted beside the layers in `origin` counts for those in `directory`, too: they lie over the same."""
    try:
        files.write_atomic(directory / NAMES, files.read_private(origin / NAMES, _NOTE_LIMIT))
    except FileNotFoundError:
        pass


def unlike(begun: Layers, paths: list[str]) -> list[str]:
    """Those of `paths` that the bottle has not the same by now, as what was applied from it is. Too many are not compared."""
    merged = Merged(begun)
    return [path for at, path in enumerate(paths) if at >= _MOST_COMPARED or not _same(merged, begun, path)]


def describe(paths: list[str]) -> str:
    """One sentence for the operator."""
    return f"changed on the host since the bottle was begun, and seen in it where it has not changed the same: {shown(paths)}"


def shown(paths: list[str]) -> str:
    """The first of them, safe to print."""
    from claude_bottle.redact import printable

    more = f" and {len(paths) - _SHOWN} more" if len(paths) > _SHOWN else ""
    return ", ".join(printable(path, width=60) for path in paths[:_SHOWN]) + more


def _look(begun: Layers) -> _Seen:
    seen, pending, whole = _Seen(set(), set(), set(), True), [("", "")], True
    while pending:
        below, repository = pending.pop()
        try:
            with os.scandir(begun.source / below) as entries:
                for entry in entries:
                    path = f"{below}/{entry.name}" if below else entry.name
                    about = entry.stat(follow_symlinks=False)
                    directory = stat.S_ISDIR(about.st_mode)
                    inside = repository or (path if entry.name == _REPOSITORY and directory else "")
                    if not inside:
                        seen.names.add(path)
                    if about.st_ctime_ns >= begun.since:
                        _note(seen, path, inside, directory=directory)
                    if directory:
                        pending.append((path, inside))
        except OSError:
            whole = False  # gone meanwhile, or closed to us
            if not repository:
                seen.directories.add(below or ".")
        if len(seen.names) > MOST_NAMES:
            whole = False
        if len(seen.newer) > MOST_EDITS:
            break
    return seen._replace(whole=whole and not pending)


def _note(seen: _Seen, path: str, repository: str, *, directory: bool) -> None:
    if not repository:
        (seen.directories if directory else seen.newer).add(path)
    elif not directory and path != f"{repository}/{_LOOKED_AT}":
        seen.newer.add(repository)


def _same(merged: Merged, begun: Layers, path: str) -> bool:
    try:
        inside, here = merged.entry(path), os.lstat(begun.source / path)
        if (
            inside is None or not stat.S_ISREG(here.st_mode) or not stat.S_ISREG(inside.st_mode)
            or (inside.st_dev, inside.st_ino) == (here.st_dev, here.st_ino)
            or inside.st_size != here.st_size or here.st_size > _COMPARED_BYTES
        ):  # fmt: skip
            return False
        one = os.open(begun.source / path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with open(one, "rb", buffering=0) as ours, open(merged.open(path), "rb", buffering=0) as theirs:
            while (piece := ours.read(_CHUNK)) == theirs.read(_CHUNK):
                if not piece:
                    return True
    except (OSError, ValueError, BottleError):
        pass
    return False
