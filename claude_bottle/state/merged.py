"""What a workspace over the operator's directory holds, read on the host: its layers put together as the kernel does.

The layers were written by an agent and may be written meanwhile: everything is opened below open directories, one component
at a time and through no link, and nothing of it is waited for. The format is overlayfs's: a device 0:0 hides what lies below
under its name, a directory with the attribute `user.overlay.opaque` all that lies below in its place.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator
from typing import NamedTuple

from claude_bottle.errors import BottleError
from claude_bottle.state.beneath import open_up, plain_parts
from claude_bottle.state.layers import Layers, is_opaque, is_whiteout

MAX_DEPTH = 128
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_CHUNK = 1 << 20


class Difference(NamedTuple):
    """One path: as it is in the operator's directory now, and as the bottle has it; None: not there."""

    path: str
    before: os.stat_result | None
    after: os.stat_result | None


class Place(NamedTuple):
    """One directory of the workspace: its parts in the layers that make it, newest first, and the original's, None where
    it has none or it is hidden. `opaque`: the original does not show through, but is still what it is compared with."""

    parts: tuple[int, ...]
    original: int | None
    opaque: bool = False

    def close(self) -> None:
        for fd in (*self.parts, *(() if self.original is None else (self.original,))):
            os.close(fd)


class Merged:
    """The workspace as data. Every `path` is relative, plain, and "" for the top."""

    def __init__(self, layers: Layers) -> None:
        self._layers = layers

    def entry(self, path: str) -> os.stat_result | None:
        """What stands at `path`, None for nothing (or below what is no directory)."""
        if not path:
            return os.stat(self._layers.upper)
        *parents, name = plain_parts(path)
        with self._place(parents) as place:
            return _found(place, name)[0] if place else None

    def names(self, path: str) -> list[str]:
        """What the directory `path` holds, sorted; nothing where there is no such directory."""
        with self._place(plain_parts(path) if path else []) as place:
            if place is None:
                return []
            candidates = {name for fd in _visible(place) for name in os.listdir(fd)}
            return sorted(name for name in candidates if _found(place, name)[0] is not None)

    def open(self, path: str) -> int:
        """A descriptor of the regular file at `path`. OSError when there is none."""
        *parents, name = plain_parts(path)
        with self._place(parents) as place:
            found, where = _found(place, name) if place else (None, -1)
            if found is None:
                raise FileNotFoundError(path)
            return _opened(where, name, ours=place is not None and where != place.original)

    def link(self, path: str) -> str:
        """The text of the link at `path`. OSError when there is none."""
        *parents, name = plain_parts(path)
        with self._place(parents) as place:
            found, where = _found(place, name) if place else (None, -1)
            if found is None:
                raise FileNotFoundError(path)
            return os.readlink(name, dir_fd=where)

    def differences(self) -> Iterator[Difference]:
        """Everything that the bottle has changed, by content, a directory before what is in it. Only what the layers name is
        looked at, so this costs what was changed and not what there is."""
        with contextlib.closing(self._top()) as top:
            yield from _compare(top, "", 0)

    def _top(self) -> Place:
        with contextlib.ExitStack() as regret:
            parts = []
            for layer in self._layers.written():
                parts.append(os.open(layer, _DIRECTORY))
                regret.callback(os.close, parts[-1])
            original = os.open(self._layers.source, _DIRECTORY)
            regret.pop_all()
        return Place(tuple(parts), original)

    @contextlib.contextmanager
    def _place(self, parts: list[str]) -> Iterator[Place | None]:
        place: Place | None = self._top()
        try:
            for part in parts:
                if place is None:
                    break
                found, _ = _found(place, part)
                inner = _enter(place, part) if found and stat.S_ISDIR(found.st_mode) else None
                place.close()
                place = inner
            yield place
        finally:
            if place is not None:
                place.close()


def _visible(place: Place) -> tuple[int, ...]:
    return place.parts if place.opaque or place.original is None else (*place.parts, place.original)


def _stat(directory: int, name: str) -> os.stat_result | None:
    try:
        return os.stat(name, dir_fd=directory, follow_symlinks=False)
    except (FileNotFoundError, NotADirectoryError):
        return None


def _found(place: Place, name: str) -> tuple[os.stat_result | None, int]:
    """What the workspace has under `name`, and the directory where that is."""
    for fd in _visible(place):
        found = _stat(fd, name)
        if found is not None:
            return (None, -1) if is_whiteout(found) and fd != place.original else (found, fd)
    return None, -1


def _enter(place: Place, name: str) -> Place:
    """The directory `name`, which the workspace has."""
    parts: list[int] = []
    hidden = place.opaque
    try:
        for fd in place.parts:
            found = _stat(fd, name)
            if found is None:
                continue
            if not stat.S_ISDIR(found.st_mode):
                hidden = True  # removed or replaced in this layer: what is below it does not show through
                break
            parts.append(_ours(fd, name, _DIRECTORY))
            if is_opaque(parts[-1]):
                hidden = True
                break
        original = None
        below = _stat(place.original, name) if place.original is not None else None
        if place.original is not None and below is not None and stat.S_ISDIR(below.st_mode):
            original = os.open(name, _DIRECTORY, dir_fd=place.original)
    except BaseException:
        for fd in parts:
            os.close(fd)
        raise
    return Place(tuple(parts), original, hidden)


def _compare(place: Place, path: str, depth: int) -> Iterator[Difference]:
    if depth > MAX_DEPTH:
        raise BottleError("cannot compare the workspace with what it was", why=f"{path} is too deep")
    names = {name for fd in place.parts for name in os.listdir(fd)}
    if place.opaque and place.original is not None:
        names.update(os.listdir(place.original))
    for name in sorted(names):
        here = f"{path}/{name}" if path else name
        after, where = _found(place, name)
        before = _stat(place.original, name) if place.original is not None else None
        yield from _one(place, name, here, before, (after, where), depth)


def _one(
    place: Place, name: str, path: str, before: os.stat_result | None, result: tuple[os.stat_result | None, int], depth: int
) -> Iterator[Difference]:
    after, where = result
    if before is not None and stat.S_ISDIR(before.st_mode) and (after is None or not stat.S_ISDIR(after.st_mode)):
        yield Difference(path, before, after)
        yield from _all_gone(place, name, path, depth)
    elif after is not None and stat.S_ISDIR(after.st_mode):
        if before is None or not stat.S_ISDIR(before.st_mode) or _permissions(before) != _permissions(after):
            yield Difference(path, before, after)
        with contextlib.closing(_enter(place, name)) as inner:
            yield from _compare(inner, path, depth + 1)
    elif (before or after) and not _alike(place.original, before, where, after, name):
        yield Difference(path, before, after)


def _all_gone(place: Place, name: str, path: str, depth: int) -> Iterator[Difference]:
    """What was below a directory that is none any more."""
    if place.original is not None:
        original = os.open(name, _DIRECTORY, dir_fd=place.original)
        with contextlib.closing(Place((), original, opaque=True)) as gone:
            yield from _compare(gone, path, depth + 1)


def _permissions(found: os.stat_result) -> int:
    return stat.S_IMODE(found.st_mode)


def _alike(
    original: int | None, before: os.stat_result | None, where: int, after: os.stat_result | None, name: str
) -> bool:  # fmt: skip
    if original is None or before is None or after is None or stat.S_IFMT(before.st_mode) != stat.S_IFMT(after.st_mode):
        return False
    if stat.S_ISLNK(before.st_mode):
        return os.readlink(name, dir_fd=original) == os.readlink(name, dir_fd=where)
    if not stat.S_ISREG(before.st_mode):
        return True  # a pipe or socket that was there before
    if before.st_size != after.st_size or _permissions(before) != _permissions(after):
        return False
    try:
        with (
            open(_opened(original, name, ours=False), "rb", buffering=0) as one,
            open(_opened(where, name, ours=where != original), "rb", buffering=0) as other,
        ):
            while (piece := one.read(_CHUNK)) == other.read(_CHUNK):
                if not piece:
                    return True
    except OSError:
        pass  # what cannot be compared is not known to be the same
    return False


def _ours(directory: int, name: str, flags: int) -> int:
    """Open what an agent may have closed even to its owner, which is us."""
    try:
        return os.open(name, flags, dir_fd=directory)
    except PermissionError:
        open_up(directory, name)
        return os.open(name, flags, dir_fd=directory)


def _opened(directory: int, name: str, *, ours: bool) -> int:
    """A regular file, of a layer (`ours`) or of the operator's directory, where nothing is ever changed."""
    fd = _ours(directory, name, _FILE) if ours else os.open(name, _FILE, dir_fd=directory)
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise OSError(f"{name} is no regular file")
    return fd

