"""What a dead keeper left on the engine: ended, brought home, removed, in this order.

The container's first process ended with its keeper, so what is left are volumes. A container that is made around them
and never started lets the engine itself read them out, so nothing of the image runs. Nothing is removed before all of
it has been brought home; volumes that were never filled hold nothing that is not on this host already.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from claude_bottle.backend.docker import export, homecoming, owners
from claude_bottle.backend.docker.argv import check_image
from claude_bottle.errors import BottleError
from claude_bottle.harness.base import HOME, WORKSPACE

if TYPE_CHECKING:
    from claude_bottle.backend.docker.engine import Engine
    from claude_bottle.backend.docker.owners import Objects
    from claude_bottle.backend.docker.rundir import RunDir


def recover(engine: Engine, objects: Objects, run_dir: RunDir, home: Path, workspace: Path) -> None:
    """BottleError, with everything kept, when not all could be brought home."""
    owners.remove(engine, owners.Objects(objects.containers))
    if run_dir.filled.exists():
        for volume in objects.volumes:
            if volume.endswith("-home"):
                bring(engine, volume, HOME, home)
            elif volume.endswith("-work"):
                bring(engine, volume, WORKSPACE, workspace)
    owners.remove(engine, owners.Objects((), objects.volumes))
    run_dir.remove()


def bring(engine: Engine, volume: str, shown_as: str, target: Path) -> None:
    """All of a volume, which the bottle saw at `shown_as`, into the place of `target`, read by the engine alone."""
    said = json.loads(engine.run(["volume", "inspect", "--format={{json .Labels}}", "--", volume]).out)
    labels = {name: value for name, value in said.items() if name.startswith("claude-bottle.")}
    words = ["create", "--network=none", "--pull=never", "--entrypoint=/never-started", "--log-driver=none",
             *(f"--label={name}={value}" for name, value in sorted(labels.items())),
             f"--mount=type=volume,source={volume},target={shown_as},readonly,volume-nocopy"]  # fmt: skip
    reader = engine.run([*words, "--", _image(engine, labels.get(owners.IMAGE, ""))]).out.decode().strip()
    try:
        homecoming.replace(target, lambda directory: export.copy_out(engine, reader, shown_as, directory))
    finally:
        owners.remove(engine, owners.Objects((reader,)))


def _image(engine: Engine, wanted: str) -> str:
    """The image it ran on; where that is gone any other does, since nothing of it is ever run."""
    if wanted and engine.run(["image", "inspect", "--format=.", "--", check_image(wanted)], check=False).code == 0:
        return wanted
    found = engine.run(["image", "ls", "--quiet", "--no-trunc"]).out.decode().split()
    if not found:
        raise BottleError("a bottle's home cannot be read from its volume", why="the engine has no image at all",
                          do="claude-bottle image build")  # fmt: skip
    return check_image(found[0])
