"""The stage: where host directories lie, as detached copies, until they become part of a bottle.

In a private mount namespace of a process that makes a bottle, or a mount for one. Bwrap, and the kernel's list of what an
overlay is made of, only ever have the staged name of a source, never its path.
"""

from __future__ import annotations

import os

from claude_bottle.backend import namespaces as ns
from claude_bottle.backend.sources import Opened

STAGE = "/tmp"  # bwrap itself needs it to be a directory, and covers it in the same way


def make_stage(size: int) -> int:
    """Cover STAGE with an empty tmpfs (0755, `size` bytes at most) in this mount namespace; its
    descriptor."""
    ns.mount("tmpfs", STAGE, "tmpfs", ns.MS_NOSUID | ns.MS_NODEV, f"mode=0755,size={size}")
    return os.open(STAGE, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)


def attach(opened: Opened, stage: int) -> None:
    """Attach an opened source to the stage under its name."""
    name = opened.source.name
    if opened.directory:
        os.mkdir(name, 0o755, dir_fd=stage)
    else:
        os.close(os.open(name, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o444, dir_fd=stage))
    ns.move_mount(opened.tree, stage, name)
    os.close(opened.tree)
    # What the host mounts below the source from now on does not appear in the bottle, where no owner is mapped.
    ns.mount("", f"{STAGE}/{name}", "", ns.MS_REC | ns.MS_PRIVATE)
