"""Fills a bottle's volumes through the engine: a directory of this host as a tar stream, for `cp` to unpack there.

Opened beneath the directory, one component at a time and no link followed; regular files, directories and links as such,
all of them the bottle's user's, without set-id bits or times of the future. What cannot be sent whole fails the launch.
"""

from __future__ import annotations

import os
import stat
import tarfile
import tempfile
import time
from pathlib import Path
from typing import IO, TYPE_CHECKING

from claude_bottle.backend import tree
from claude_bottle.errors import BottleError
from claude_bottle.state import ignore

if TYPE_CHECKING:
    from claude_bottle.backend.docker.engine import Engine

_BUFFER = 1 << 18


def fill(engine: Engine, container: str, source: Path, target: str, owner: tuple[int, int], *, ignoring: bool) -> None:
    """What is in the directory `source`, into `target` in the container, as `owner`'s. `ignoring`: without what its
    `.dockerignore` leaves out. BottleError when not all of it arrived."""
    with tree.opened(source) as directory:
        if not os.listdir(directory):
            return
        ignored = ignore.read(str(source)) if ignoring else ignore.Ignored(())
        with tempfile.TemporaryFile() as errors:
            client = engine.popen(["cp", "-", f"{container}:{target}"], stdin=-1, stdout=-3, stderr=errors)
            try:
                if client.stdin is None:
                    raise BottleError("cannot fill a bottle")
                try:
                    with client.stdin as stream:
                        _Archive(stream, owner, ignored).whole(directory)
                except BrokenPipeError:
                    pass  # it says why
                code = client.wait()
            finally:
                client.kill()
                client.wait()
            errors.seek(0)
            if code != 0:
                raise engine.failure(errors.read(4096))


class _Archive:
    def __init__(self, stream: IO[bytes], owner: tuple[int, int], ignored: ignore.Ignored) -> None:
        self._owner, self._ignored, self._entries = owner, ignored, 0
        self._tar = tarfile.open(fileobj=stream, mode="w|", format=tarfile.PAX_FORMAT, bufsize=_BUFFER)

    def whole(self, directory: int) -> None:
        self._below(directory, "", 0)
        self._tar.close()

    def _below(self, directory: int, path: str, depth: int) -> None:
        if depth > tree.MAX_DEPTH:
            raise BottleError("cannot fill a bottle", why=f"{path} is too deep")
        for name in sorted(os.listdir(directory)):
            self._entries += 1
            if self._entries > tree.MAX_ENTRIES:
                raise BottleError("cannot fill a bottle", why="too many files")
            self._one(directory, name, f"{path}/{name}" if path else name, depth)

    def _one(self, directory: int, name: str, path: str, depth: int) -> None:
        found = os.stat(name, dir_fd=directory, follow_symlinks=False)
        if stat.S_ISDIR(found.st_mode):
            if self._ignored.prunes(path):
                return
            inner = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)
            try:
                self._tar.addfile(self._member(path, tarfile.DIRTYPE, found, 0o700))
                self._below(inner, path, depth + 1)
            finally:
                os.close(inner)
        elif self._ignored.ignores(path):
            return
        elif stat.S_ISLNK(found.st_mode):
            member = self._member(path, tarfile.SYMTYPE, found, 0)
            member.linkname = os.readlink(name, dir_fd=directory)
            self._tar.addfile(member)
        elif stat.S_ISREG(found.st_mode):
            self._file(directory, name, path)

    def _file(self, directory: int, name: str, path: str) -> None:
        reading = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=directory)
        with open(reading, "rb") as file:
            found = os.fstat(reading)
            if not stat.S_ISREG(found.st_mode):
                return
            member = self._member(path, tarfile.REGTYPE, found, 0o600)
            member.size = found.st_size
            try:
                self._tar.addfile(member, file)
            except OSError as failure:
                if isinstance(failure, BrokenPipeError):
                    raise
                raise BottleError("cannot fill a bottle", why=f"{path}: {failure}") from failure

    def _member(self, path: str, kind: bytes, found: os.stat_result, least: int) -> tarfile.TarInfo:
        member = tarfile.TarInfo(path)
        member.type, member.mode = kind, (found.st_mode & 0o777) | least
        member.uid, member.gid = self._owner
        member.mtime = min(found.st_mtime, time.time())
        return member
