"""What a dead keeper left on the engine: ended, brought home, removed, in this order.

The container's first process ended with its keeper, so what is left are volumes, which a container of our own reads out.
Nothing is removed before all of it has been brought home; volumes that were never filled hold nothing that is not on this
host already.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from claude_bottle import log
from claude_bottle.backend.docker import owners, reader
from claude_bottle.backend.tree import left_out

if TYPE_CHECKING:
    from claude_bottle.backend.docker.engine import Engine
    from claude_bottle.backend.docker.owners import Objects
    from claude_bottle.backend.docker.rundir import RunDir


def recover(engine: Engine, objects: Objects, run_dir: RunDir, home: Path, workspace: Path) -> None:
    """BottleError, with everything kept, when not all could be brought home."""
    owners.remove(engine, owners.Objects(objects.containers))
    if run_dir.filled.exists():
        targets = {"home": home, "work": workspace}
        wanted = [reader.Volume(volume, targets[kind]) for volume in objects.volumes
                  if (kind := volume.rpartition("-")[2]) in targets]  # fmt: skip
        if wanted and (notes := reader.bring(engine, wanted)):
            log.warn(left_out(notes))
    owners.remove(engine, owners.Objects((), objects.volumes))
    run_dir.remove()

