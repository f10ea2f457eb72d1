"""Fills the stage: every host directory of a launch as a detached copy, the overlay over one of them, and the files we make.

Runs in the launcher's child, in its own mount namespace, before it gives up root or becomes bwrap. Everything of the host
is opened by descriptor and through no link (`sources`).
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from claude_bottle.backend import idmaps, overlay, protected, sources
from claude_bottle.backend import stage as staged
from claude_bottle.backend.base import UID, Boot
from claude_bottle.backend.bubblewrap import rootfs, terminals
from claude_bottle.backend.bubblewrap.layer_overlay import Pile

STAGE_BYTES = 64 << 20


def fill(boot: Boot, programs: Sequence[tuple[str, str]], pile: Pile, host: int | None) -> int:
    """Everything the root file system is made of. `programs` are (name on the stage, host path), `pile` the layers
    over it; `host` is the bottle's uid on this host, for root. Returns the descriptor for the authorities (see
    `rootfs.write_files`)."""
    made: dict[tuple[int, int, bool], int] = {}

    def shift(uid: int, gid: int, others: bool) -> int:
        if (uid, gid, others) not in made and host is not None:
            made[uid, gid, others] = idmaps.mapping_namespace((uid, gid), (host, host), others=others)
        return made[uid, gid, others]

    opened = [sources.open_source(source, shift if host else None) for source in _sources(boot, programs, pile)]
    private = {path: sources.open_source(sources.Source(str(path), "held", True), shift if host else None).tree
               for guard in boot.guards if (path := guard.source) is not None}  # fmt: skip
    stage = staged.make_stage(STAGE_BYTES)
    for one in opened:
        staged.attach(one, stage)
    if boot.overlay is not None:
        overlay.mount(boot.overlay, None if host is None else (host, host))
    if boot.guards:
        _guard(boot, stage, private)
    authorities = rootfs.write_files(stage, pile, trust=bool(boot.ca_bundle))
    pile.mount(stage, host)
    terminals.mount(staged.STAGE, UID if host is None else host)
    os.close(stage)
    for descriptor in made.values():
        os.close(descriptor)
    return authorities


def _guard(boot: Boot, stage: int, private: dict[Path, int]) -> None:
    workspace = os.open("workspace", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=stage)
    try:
        protected.hold(workspace, boot.guards, private.__getitem__)
    finally:
        os.close(workspace)


def _sources(boot: Boot, programs: Sequence[tuple[str, str]], pile: Pile) -> list[sources.Source]:
    found = [sources.Source(str(boot.home), "home", True)]
    if boot.overlay is not None:
        found += overlay.layers(boot.overlay)
    else:
        found.append(sources.Source(str(boot.workspace), "workspace", True))
    for index, mount in enumerate(boot.mounts):
        found.append(sources.Source(mount.source, f"mount-{index}", mount.mode == "rw"))
    return found + pile.sources() + [sources.Source(path, name, False) for name, path in programs]
