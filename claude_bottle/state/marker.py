"""The operator's marker: two words that stand in every dialog of ours and that no bottle can know (threat 105).

Chosen at random once for a state root, when first asked for, and kept in one file of ours that no bottle sees. An agent
can draw a dialog; it cannot put the right words into it. Touches nothing but `$CLAUDE_BOTTLE_HOME/marker`.
"""

from __future__ import annotations

import fcntl
import os
import re
from typing import TYPE_CHECKING

from claude_bottle.state import files
from claude_bottle.state.damage import cannot, damaged

if TYPE_CHECKING:
    from claude_bottle.state.paths import Paths

_LIMIT = 64
_MARKER = re.compile(r"[a-z]{2,12}-[a-z]{2,12}")


def marker(paths: Paths) -> str:
    """The two words, such as "violet-otter"; the same for everybody from the first call on. Damaged when the file holds
    something else: then somebody wrote to it who should not have."""
    place = paths.root / "marker"
    try:
        found = files.read_private(place, _LIMIT).decode("ascii", "replace").strip()
    except FileNotFoundError:
        return _make(paths)
    if not _MARKER.fullmatch(found):
        raise damaged(place, "it does not hold two words")
    return found


def _make(paths: Paths) -> str:
    """Under a lock on the state root itself, so that of several who ask first all get the same words."""
    from claude_bottle.state.marker_words import FIRST, SECOND

    paths.ensure_root()
    try:
        root = os.open(paths.root, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as problem:
        raise cannot("open the directory", paths.root, problem) from problem
    try:
        fcntl.flock(root, fcntl.LOCK_EX)
        place = paths.root / "marker"
        if os.path.lexists(place):
            return marker(paths)
        words = f"{_choice(FIRST)}-{_choice(SECOND)}"
        files.write_atomic(place, words.encode() + b"\n")
        return words
    finally:
        os.close(root)


def _choice(words: list[str]) -> str:
    return words[int.from_bytes(os.urandom(8)) % len(words)]
