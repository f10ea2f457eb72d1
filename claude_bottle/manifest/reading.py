"""Finding manifest files and reading their bytes, once: what is judged, hashed and used is the same bytes.

The home manifest is the operator's and may be a link; it must not be writable by strangers. The project's
comes with a repository, so it is data of unknown origin: a regular file, or a link that stays inside the
project. It is looked for in the working directory, then upwards to the root of its git work tree, as git
users expect; outside one, nowhere else.
"""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING

from claude_bottle.digests import sha256
from claude_bottle.errors import BottleError
from claude_bottle.redact import printable
from claude_bottle.values import dataclass

if TYPE_CHECKING:
    from claude_bottle.state.paths import Paths

NAME = "claude-bottle.json"
MAX_BYTES = 1 << 20
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


@dataclass(frozen=True)
class Source:
    """A manifest file as it was read. `kind` is "home" or "project"; `path` is absolute and free of links."""

    kind: str
    path: Path
    data: bytes

    @property
    def sha256(self) -> str:
        return sha256(self.data).hexdigest()

    def to_dict(self) -> dict[str, str]:
        return {"kind": self.kind, "path": str(self.path), "sha256": self.sha256}


def find_home(paths: Paths) -> Path | None:
    """`$CLAUDE_BOTTLE_HOME/claude-bottle.json`, else `~/claude-bottle.json`, else None."""
    for candidate in (paths.root / NAME, operator_home() / NAME):
        if os.path.lexists(candidate):
            return candidate
    return None


def find_project(cwd: Path, home: Path | None) -> Path | None:
    """The project's manifest for someone who stands in `cwd` (absolute), or None. The home manifest is
    never one."""
    own = _identity(home)
    for directory in search_path(cwd):
        candidate = directory / NAME
        if os.path.lexists(candidate):
            return None if own is not None and _identity(candidate) == own else candidate
    return None


def search_path(cwd: Path) -> list[Path]:
    """`cwd`, then its parents up to the one that holds `.git`; only `cwd` when none does."""
    here = Path(os.path.realpath(cwd))
    for index, directory in enumerate((here, *here.parents)):
        if os.path.lexists(directory / ".git"):
            return [here, *list(here.parents)[:index]]
    return [here]


def read_home(path: Path) -> Source:
    """The home manifest. BottleError when it cannot be read, is no regular file, or strangers may write to
    it."""
    real = Path(os.path.realpath(path))
    data, found = _read(real, path)
    if found.st_uid not in (os.geteuid(), 0) or found.st_mode & stat.S_IWOTH:
        raise BottleError(
            f"{printable(str(path))} may be written by others",
            why="the home manifest grants without asking, so it must be the operator's own",
            do=f"check its content, then: chown {os.geteuid()} {real} && chmod go-w {real}",
        )
    return Source("home", real, data)


def read_project(path: Path) -> Source:
    """A project's manifest. BottleError when it cannot be read, is no regular file, is a link out of its
    project, or was found above the working directory and belongs to a stranger."""
    real = Path(os.path.realpath(path))
    root = search_path(path.parent)[-1]
    if real != root / NAME and root not in real.parents:
        raise BottleError(
            f"{printable(str(path))} is a link that leads out of its project",
            why=f"it points to {printable(str(real))}, outside {printable(str(root))}",
            do="put the manifest itself there",
        )
    data, found = _read(real, path)
    if found.st_uid not in (os.geteuid(), 0, os.stat(path.parent).st_uid):
        raise BottleError(
            f"{printable(str(path))} belongs to another user",
            why=f"its owner is uid {found.st_uid}, neither you nor the owner of its directory",
            do="copy it to a file of your own, after reading it",
        )
    return Source("project", real, data)


def operator_home() -> Path:
    """The operator's home directory; `/nonexistent` where there is none (a user without an account)."""
    try:
        return Path.home()
    except RuntimeError:
        return Path("/nonexistent")


def _read(real: Path, shown: Path) -> tuple[bytes, os.stat_result]:
    name = printable(str(shown))
    try:
        fd = os.open(real, _READ)
    except OSError as problem:
        why = "it is a link" if problem.errno == errno.ELOOP else os.strerror(problem.errno or 0)
        raise BottleError(f"cannot read {name}", why=why, do=f"look at it: ls -l {name}") from problem
    try:
        found = os.fstat(fd)
        if not stat.S_ISREG(found.st_mode):
            raise BottleError(f"{name} is not a regular file", do="put a manifest file there: claude-bottle init")
        with os.fdopen(fd, "rb", closefd=False) as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as problem:
        raise BottleError(f"cannot read {name}", why=os.strerror(problem.errno or 0)) from problem
    finally:
        os.close(fd)
    if len(data) > MAX_BYTES:
        raise BottleError(f"{name} is too large", why=f"a manifest has at most {MAX_BYTES} bytes")
    return data, found


def _identity(path: Path | None) -> tuple[int, int] | None:
    try:
        found = os.stat(path) if path is not None else None
    except OSError:
        return None
    return (found.st_dev, found.st_ino) if found else None
