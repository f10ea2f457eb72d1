"""The layers built on this host: directories under the state root, each named by what went into it.

A layer appears by one rename and disappears by one rename, is never changed in between, and is shared by all bottles, which
see it read-only. What lies in one came out of a build and is hostile: nothing in it is followed, executed or read as
settings here. How much they may take together is bounded; what no kept bottle's plan names goes first, the longest unused
before the others.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from claude_bottle.errors import BottleError
from claude_bottle.state import files
from claude_bottle.state.removal import remove_tree

if TYPE_CHECKING:
    from claude_bottle.state.paths import Paths

MAX_BYTES = 20 << 30  # of all layers together
ROOT, CACHE, META = "root", "ld.so.cache", "layer.json"
_NAME = re.compile(r"[0-9a-f]{32}")
_NEW, _OLD = ".new-", ".removing-"
_JUST_MADE_SECONDS = 60
_PLAN_LIMIT = 4 << 20


class LayerStore:
    """The layers of one state root."""

    def __init__(self, paths: Paths) -> None:
        self._paths, self._place = paths, paths.layer_store

    def has(self, name: str) -> bool:
        return self._exists(name)

    def directory(self, name: str) -> Path:
        """Where a layer lies, whole: ROOT with its files, and CACHE of its libraries and those below. BottleError when it
        is not there."""
        if not self._exists(name):
            raise BottleError("a layer of this bottle is missing", why=f"no {name[:12]} in {self._place}",
                              do="start or resume it again, which builds it")  # fmt: skip
        return self._place / name

    def used(self, name: str) -> None:
        """Note that a layer has been asked for."""
        with suppress(OSError):
            os.utime(self._place / name)

    @contextmanager
    def staging(self) -> Iterator[Path]:
        """A private directory for one build, on the file system of the layers; gone on every path out."""
        self._paths.ensure_root()
        files.ensure_private_dir(self._place)
        self.sweep()
        place = self._place / f"{_NEW}{os.urandom(8).hex()}"
        os.mkdir(place, 0o700)
        fd = os.open(place, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(fd, fcntl.LOCK_SH)  # says that somebody lives who will remove it
            yield place
        finally:
            with suppress(BottleError, OSError):
                _remove(place)
            os.close(fd)

    def publish(self, made: Path, name: str, about: dict[str, object]) -> None:
        """The directory `made` (ROOT, CACHE) becomes the layer `name`. Somebody else may have been quicker with the same."""
        files.write_atomic(made / META, json.dumps({"schema": 1, **about}).encode())
        files.sync_directory(made)
        try:
            os.rename(made, self._place / name)
        except OSError:
            if not self._exists(name):
                raise
        files.sync_directory(self._place)

    def names(self) -> list[str]:
        """Every layer there is, sorted."""
        try:
            return sorted(name for name in os.listdir(self._place) if self._exists(name))
        except FileNotFoundError:
            return []

    def about(self, name: str) -> dict[str, object]:
        """What is noted of a layer: capability, bytes, when it was made and last asked for (Unix times)."""
        try:
            said = files.read_json(self._place / name / META, 1 << 20)
        except (OSError, BottleError):
            said = {}
        return {**said, "used": os.stat(self._place / name).st_mtime}

    def remove(self, name: str) -> bool:
        """False when it is not there, or a kept bottle's plan names it."""
        return name not in self.wanted() and self._remove(name)

    def wanted(self) -> set[str]:
        """The layers that the plan of a kept bottle names. BottleError when one cannot be read: then all may be wanted."""
        found: set[str] = set()
        try:
            identities = os.listdir(self._paths.states)
        except FileNotFoundError:
            return found
        for identity in identities:
            try:
                plan = files.read_json(self._paths.states / identity / "plan.json", _PLAN_LIMIT)
            except (FileNotFoundError, NotADirectoryError):
                continue
            layers = plan.get("layers")
            found |= {str(one.get("name")) for one in layers if isinstance(one, dict)} if isinstance(layers, list) else set()
        return found

    def make_room(self) -> None:
        """Before a build: remove what nobody wants while there is more than MAX_BYTES. BottleError when the rest alone is
        more."""
        sizes = {name: self._size(name) for name in self.names()}
        if sum(sizes.values()) <= MAX_BYTES:
            return
        wanted = self.wanted()
        for name in sorted(sizes, key=lambda name: float(str(self.about(name)["used"]))):
            if name not in wanted and self._remove(name):
                del sizes[name]
            if sum(sizes.values()) <= MAX_BYTES:
                return
        raise BottleError("there is no room for another layer", why=f"those in use take more than {MAX_BYTES >> 30} GiB",
                          do="remove bottles that you no longer need: claude-bottle cleanup --all")  # fmt: skip

    def _size(self, name: str) -> int:
        said = self.about(name).get("size")
        return said if isinstance(said, int) else 0

    def _exists(self, name: str) -> bool:
        path = self._place / name
        return bool(_NAME.fullmatch(name)) and path.is_dir() and not path.is_symlink()

    def _remove(self, name: str) -> bool:
        if not self._exists(name):
            return False
        doomed = self._place / f"{_OLD}{name}-{os.urandom(4).hex()}"
        os.rename(self._place / name, doomed)
        remove_tree(doomed)
        return True

    def sweep(self) -> None:
        """Remove what killed builds and removals left."""
        for name in os.listdir(self._place) if self._place.is_dir() else ():
            path = self._place / name
            with suppress(BottleError, OSError):
                if name.startswith(_OLD) or (name.startswith(_NEW) and _abandoned(path)):
                    _remove(path)


def _remove(path: Path) -> None:
    """Also what a build as many users left in it."""
    from claude_bottle.backend import subids  # no launch has anything to remove

    subids.remove(path)


def _abandoned(path: Path) -> bool:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return time.time() - os.fstat(fd).st_mtime > _JUST_MADE_SECONDS
    except BlockingIOError:
        return False
    finally:
        os.close(fd)
