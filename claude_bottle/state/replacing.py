"""Putting a new directory in the place of an old one in one step: a crash leaves the old one or the new one, whole."""

from __future__ import annotations

import contextlib
import ctypes
import os
from collections.abc import Callable
from pathlib import Path

from claude_bottle.errors import BottleError
from claude_bottle.state.removal import remove_tree

_RENAME_EXCHANGE, _AT_FDCWD = 2, -100
_INCOMING = ".incoming"
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_libc = ctypes.CDLL(None, use_errno=True)


def replace(target: Path, fill: Callable[[int], None]) -> None:
    """Let `fill` write into a new directory, and put that in the place of `target` once it is whole."""
    incoming = target.with_name(target.name + _INCOMING)
    remove_tree(incoming)  # what a keeper that died had begun
    incoming.mkdir(0o700)
    try:
        directory = os.open(incoming, _DIRECTORY)
        try:
            fill(directory)
            _libc.syncfs(directory)  # a power cut after the exchange finds it whole
        finally:
            os.close(directory)
        target.mkdir(0o700, exist_ok=True)
        _exchange(incoming, target)
    finally:
        with contextlib.suppress(BottleError):
            remove_tree(incoming)


def _exchange(one: Path, other: Path) -> None:
    """Swap two names in one step (renameat2(2))."""
    if _libc.renameat2(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _RENAME_EXCHANGE) != 0:
        number = ctypes.get_errno()
        raise BottleError(f"cannot put {other} in place", why=os.strerror(number))
