"""A private directory for as long as a block runs. `tempfile` does the same with 4 ms of imports, at every launch."""

from __future__ import annotations

import fcntl
import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from claude_bottle.errors import BottleError
from claude_bottle.state.removal import remove_tree

_PREFIX = "claude-bottle-"
_JUST_MADE_SECONDS = 60


@contextmanager
def temporary_directory() -> Iterator[Path]:
    """Its absolute path without links, in TMPDIR or else /tmp; gone on every path out. OSError when it cannot be made."""
    place = Path(os.path.realpath(_base()), f"{_PREFIX}{os.urandom(8).hex()}")
    os.mkdir(place, 0o700)
    fd = -1
    try:
        fd = os.open(place, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        fcntl.flock(fd, fcntl.LOCK_SH)  # says that somebody lives who will remove it
        yield place
    finally:
        try:
            _remove(place)
        except KeyboardInterrupt:  # as likely here as anywhere
            _remove(place)
            raise
        finally:
            if fd >= 0:
                os.close(fd)


def _remove(place: Path) -> None:
    with suppress(BottleError, OSError):
        remove_tree(place)


def sweep() -> None:
    """Remove the temporary directories of ours whose process was killed."""
    base = os.path.realpath(_base())
    for name in os.listdir(base):
        if re.fullmatch(_PREFIX + "[0-9a-f]{16}", name):
            with suppress(BottleError, OSError):
                _remove_abandoned(Path(base, name))


def _base() -> str:
    usual = os.environ.get("TMPDIR", "")
    return usual if usual and os.access(usual, os.W_OK | os.X_OK) else "/tmp"


def _remove_abandoned(place: Path) -> None:
    fd = os.open(place, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        found = os.fstat(fd)
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # One just made is not locked yet.
        if found.st_uid == os.geteuid() and time.time() - found.st_mtime > _JUST_MADE_SECONDS:
            remove_tree(place)
    finally:
        os.close(fd)
