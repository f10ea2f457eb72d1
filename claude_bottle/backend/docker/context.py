"""The context of the operator's own Dockerfile: which files go into it, and the private copy that a build sees.

A running bottle may write to this very directory while it is read, so everything is opened beneath it with no link
followed, and the copy must hold exactly what was hashed, or nothing is built. Reads a directory, writes the copy.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Sequence
from pathlib import Path

from claude_bottle.backend.docker.recipe import File
from claude_bottle.errors import BottleError
from claude_bottle.state import ignore
from claude_bottle.state.beneath import make_dirs_beneath, open_beneath

MAX_FILES, MAX_BYTES = 20_000, 2 << 30
_LINK, _DIRECTORY, _PIECE = "link ", "directory ", 1 << 20
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


def read(directory: Path) -> tuple[File, ...]:
    """What `directory` and its `.dockerignore` say: files by mode and SHA-256, links by where they lead, directories by
    mode. BottleError when it is too large or changes meanwhile, OSError when it cannot be read."""
    root = _opened(directory)
    try:
        return tuple(_listed(directory, root))
    finally:
        os.close(root)


def _listed(directory: Path, root: int) -> list[File]:
    files: list[File] = []
    total = 0
    for name, _ in ignore.walk(str(directory), ignore.read(str(directory))):
        found, leads_to = _seen(root, name)
        total += found.st_size if stat.S_ISREG(found.st_mode) else 0
        if len(files) >= MAX_FILES or total > MAX_BYTES:
            raise BottleError(f"the build context {directory} is too large",
                              why=f"more than {MAX_FILES} files or {MAX_BYTES >> 30} GiB",
                              do="keep what the build does not need out of it: .dockerignore")  # fmt: skip
        source = f"{directory}/{name}"
        if stat.S_ISLNK(found.st_mode):
            files.append(File(name, source, _LINK + leads_to))
        elif stat.S_ISDIR(found.st_mode):
            files.append(File(name, source, f"{_DIRECTORY}{found.st_mode & 0o777:o}"))
        elif stat.S_ISREG(found.st_mode):
            files.append(File(name, source, _through(root, name, None)))
    return files


def copy(directory: Path, files: Sequence[File], target: Path) -> None:
    """Put `files` of `directory` into the empty directory `target`. BottleError when one is no longer what it was when
    it was read."""
    root, place = _opened(directory), _opened(target)
    try:
        for file in files:
            try:
                _make(root, place, file)
            except (FileExistsError, NotADirectoryError) as problem:
                # Of two names one says that the other is a directory, and that it is none: nothing is written through it.
                raise _changed(file.name) from problem
    finally:
        os.close(place)
        os.close(root)


def _make(root: int, target: int, file: File) -> None:
    """One entry of the copy. What was listed came from a hostile place, and a link in it may lead anywhere: so everything
    is made beneath `target`, too."""
    if file.identity.startswith(_DIRECTORY):
        made = make_dirs_beneath(target, file.name)
        os.fchmod(made, int(file.identity.removeprefix(_DIRECTORY), 8) | 0o700)  # for us to read and remove it
        os.close(made)
        return
    *parents, name = file.name.split("/")
    # A directory that is left out may hold a file that is taken back.
    inside = make_dirs_beneath(target, "/".join(parents))
    try:
        if file.identity.startswith(_LINK):
            os.symlink(file.identity.removeprefix(_LINK), name, dir_fd=inside)
        elif _through(root, file.name, os.open(name, _NEW, 0o600, dir_fd=inside)) != file.identity:
            raise _changed(file.name)
    finally:
        os.close(inside)


def _seen(root: int, name: str) -> tuple[os.stat_result, str]:
    """What is at `name`, through no link, and where it leads if it is one."""
    try:
        held = open_beneath(root, name, os.O_PATH)
    except OSError as problem:
        if isinstance(problem, PermissionError):
            raise
        raise _changed(name) from problem
    try:
        found = os.fstat(held)
        return found, os.readlink("", dir_fd=held) if stat.S_ISLNK(found.st_mode) else ""
    finally:
        os.close(held)


def _through(root: int, name: str, target: int | None) -> str:
    """What stands for a file's content, read to its end, and written to the descriptor `target`, closed then, if there is
    one."""
    with open(os.open(os.devnull, os.O_WRONLY) if target is None else target, "wb") as copied:
        try:
            reading = open_beneath(root, name)
        except (OSError, ValueError) as problem:
            if isinstance(problem, PermissionError):
                raise
            raise _changed(name) from problem
        with open(reading, "rb", buffering=0) as file:
            found = os.fstat(reading)
            if not stat.S_ISREG(found.st_mode):
                raise _changed(name)
            content = hashlib.sha256()
            while piece := file.read(_PIECE):
                content.update(piece)
                copied.write(piece)
        copied.flush()
        mode = found.st_mode & 0o777
        if target is not None:
            os.fchmod(target, mode | 0o600)
            os.utime(target, ns=(found.st_mtime_ns, found.st_mtime_ns))
    return f"{mode:o} {content.hexdigest()}"


def _opened(directory: Path) -> int:
    return os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)


def _changed(name: str) -> BottleError:
    return BottleError("the build context changes while it is read", why=f"{name} is not what it was",
                       do="start again once nothing writes to it")  # fmt: skip
