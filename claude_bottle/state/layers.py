"""The layers of a workspace that lies over the operator's directory: where they are, and which of them make it.

`layers/` of an identity holds `upper` (what the bottle writes), `work` (the kernel's own), finished layers under names of
ours, which nobody writes to any more, and `stack.json`, which says which of these lie below `upper`, newest first, over
which directory, and since when. The clock of that is the kernel's of files: whatever of the original has a later ctime
was changed by the host since then, however its times look (only the kernel sets a ctime).
"""

from __future__ import annotations

import errno
import json
import os
import stat
from typing import TYPE_CHECKING, NamedTuple

from claude_bottle.errors import BottleError, EnvironmentLacks
from claude_bottle.patterns import regex
from claude_bottle.state import damage, files
from claude_bottle.state.removal import remove_tree

if TYPE_CHECKING:
    from pathlib import Path

    from claude_bottle.state.paths import Paths

UPPER, WORK, NOTE = "upper", "work", "stack.json"
SCHEMA = 1
# A mount takes one page of options (mount(2)); each layer needs some twenty bytes of it.
MOST = 100
_LIMIT = 1 << 20
_NAME = regex(r"[0-9a-f]{16}")


class Layers(NamedTuple):
    """`directory` is `layers/`; `below` the names of finished layers, newest first; `since` in ns, see above."""

    directory: Path
    source: Path
    since: int
    below: tuple[str, ...] = ()

    @property
    def upper(self) -> Path:
        return self.directory / UPPER

    def written(self) -> tuple[Path, ...]:
        """Every layer over the original, newest first."""
        return (self.upper, *(self.directory / name for name in self.below))


def begin(paths: Paths, identity: str, source: Path) -> Layers:
    """An empty upper layer over `source`. EnvironmentLacks where the state root's file system cannot hold one."""
    return begin_at(paths.layers(identity), source)


def begin_at(directory: Path, source: Path) -> Layers:
    """The same in a directory of the caller's choice."""
    files.ensure_private_dir(directory)
    made = Layers(directory, source, _fresh(directory, source))
    save(made)
    return made


def _fresh(directory: Path, source: Path) -> int:
    """Make `upper`, which gives the workspace's top its mode, and `work`; when that was."""
    try:
        os.mkdir(directory / WORK, 0o700)
        os.mkdir(directory / UPPER, 0o700)
        os.chmod(directory / UPPER, stat.S_IMODE(os.stat(source).st_mode) & 0o777 | 0o700)
        os.setxattr(directory / WORK, "user.overlay.trial", b"y")
        return os.stat(directory / WORK).st_ctime_ns
    except OSError as problem:
        if problem.errno in (errno.EOPNOTSUPP, errno.EPERM):
            raise EnvironmentLacks(
                f"{directory} cannot hold the private layer of an overlay",
                why="its file system has no user attributes",
                do='say "workspace": {"mode": "copy"}, or keep CLAUDE_BOTTLE_HOME on ext4, xfs or btrfs',
            ) from problem
        raise damage.cannot("make the layers", directory, problem) from problem


def save(layers: Layers) -> None:
    said = {"schema": SCHEMA, "source": os.fsdecode(layers.source), "since": layers.since, "below": list(layers.below)}
    files.write_atomic(layers.directory / NOTE, json.dumps(said).encode())


def load(paths: Paths, identity: str) -> Layers | None:
    """The layers of an identity; None when its workspace has none. Damaged for a note that is not ours."""
    return open_at(paths.layers(identity))


def open_at(directory: Path) -> Layers | None:
    """As `load`, from a directory of the caller's choice."""
    try:
        said = files.read_json(directory / NOTE, _LIMIT)
    except FileNotFoundError:
        return None
    return understand(directory, said)


def understand(directory: Path, said: dict[str, object]) -> Layers:
    """What a note says; Damaged when it makes no sense."""
    source, since, below = said.get("source"), said.get("since"), said.get("below")
    if (
        said.get("schema") != SCHEMA or not isinstance(source, str) or not os.path.isabs(source) or "\0" in source
        or type(since) is not int or not isinstance(below, list)
        or not all(isinstance(name, str) and _NAME.fullmatch(name) for name in below)
    ):  # fmt: skip
        raise damage.damaged(directory / NOTE, "not a note of layers")
    return Layers(directory, type(directory)(source), since, tuple(below))


def finish(layers: Layers) -> Layers:
    """Put what was written so far under a name of its own, to be written no more, and begin an empty layer over it: one
    rename, whatever its size. Nothing may have it mounted. The same layers when nothing was written."""
    with os.scandir(layers.upper) as entries:
        if not any(entries):
            return layers
    if len(layers.below) >= MOST:
        raise BottleError("too many checkpoints lie under this workspace", why=f"more than {MOST} layers",
                          do="rewind to one of them, or fork one")  # fmt: skip
    made = layers._replace(below=(new_name(), *layers.below))
    save(made)  # first: a crash before the rename is found by `mend`
    os.rename(layers.upper, layers.directory / made.below[0])
    return mend(made)


def clear(layers: Layers, below: tuple[str, ...]) -> Layers:
    """An empty layer over `below`; what the one before held is removed."""
    made = layers._replace(below=below)
    save(made)
    remove_tree(layers.upper)
    return mend(made)


def mend(layers: Layers) -> Layers:
    """What a crash left, made whole: for whoever holds the bottle and is about to use its layers."""
    if layers.below and not os.path.isdir(layers.directory / layers.below[0]) and os.path.isdir(layers.upper):
        layers = layers._replace(below=layers.below[1:])  # `finish` had not come to its rename
        save(layers)
    if not os.path.isdir(layers.upper):
        remove_tree(layers.directory / WORK)
        _fresh(layers.directory, layers.directory / layers.below[0] if layers.below else layers.source)
    return layers


def sweep(layers: Layers, named: set[str]) -> None:
    """Remove finished layers that neither the stack nor `named` has."""
    for name in os.listdir(layers.directory):
        if _NAME.fullmatch(name) and name not in named and name not in layers.below:
            remove_tree(layers.directory / name)


def new_name() -> str:
    return os.urandom(8).hex()


def is_whiteout(found: os.stat_result) -> bool:
    """Whether an entry of a layer stands for something that was removed (overlayfs: a device 0:0)."""
    return stat.S_ISCHR(found.st_mode) and found.st_rdev == 0


def is_opaque(directory: int) -> bool:
    """Whether an open directory of a layer hides what the layers below have in its place."""
    try:
        return os.getxattr(directory, "user.overlay.opaque") == b"y"
    except OSError:
        return False
