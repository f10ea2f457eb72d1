"""The guards of a live workspace (see `protected`) as mounts of a container: each is a bind over the workspace's own.

Like every other mount, what appears inside is compared with what was meant before anything foreign runs. Where root's
directory is shown by a graft, `graft` puts the guards in force instead.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from claude_bottle.backend.protected import LINK, READ_ONLY
from claude_bottle.errors import EnvironmentLacks
from claude_bottle.harness.base import WORKSPACE
from claude_bottle.model.plan import Mount
from claude_bottle.redact import printable

if TYPE_CHECKING:
    from claude_bottle.backend.base import Boot


def mounts(boot: Boot, user: tuple[int, int]) -> tuple[Mount, ...]:
    """One for each guard. What is private to the bottle becomes `user`'s, which takes root."""
    made = []
    for guard in boot.guards:
        if guard.kind == LINK:
            raise EnvironmentLacks(f"cannot protect {printable(guard.path)} in {boot.workspace}",
                                   why="it is a link, which no engine can cover",
                                   do='say "workspace": {"mode": "overlay"} or "clone", or --backend bubblewrap')  # fmt: skip
        if guard.source is not None and os.geteuid() == 0:
            os.chown(guard.source, *user, follow_symlinks=False)
        source = boot.workspace / guard.path if guard.source is None else guard.source
        made.append(Mount(str(source), f"{WORKSPACE}/{guard.path}", "ro" if guard.kind == READ_ONLY else "rw"))
    return tuple(made)
