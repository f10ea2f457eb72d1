"""What a private copy of a project costs: our copy into a container's volume, beside `docker cp` of the same tree there.

Both begin with an empty volume in each turn; making and removing it is not counted. Ours writes as the first process of a
container lets the keeper write: through the volume's directory, so only root can measure it without a bottle.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench import peers
from bench.figures import Report, figure

OURS, THEIRS = "our copy of a project (--cwd)", "docker cp"
GOAL = 1.5
_OWNER = (1000, 1000)
_WIDTH = 1000


def measure(report: Report, scratch: Path, runs: int, files: int, mib: int) -> None:
    found = peers.docker()
    if isinstance(found, peers.Missing) or os.geteuid() != 0:
        why = found.why if isinstance(found, peers.Missing) else "only root can see a volume's directory (run as root)"
        report.missing.append(f"copy: {why}")
        return
    source = scratch / "tree"
    _plant(source, files, mib << 20)
    taken: dict[str, list[float]] = {OURS: [], THEIRS: []}
    for turn in range(runs + 1):
        for name, seconds in taken.items():
            took = _take(name, source)
            if turn:
                seconds.append(took)
    rows = {name: figure(name, seconds, "s") for name, seconds in taken.items()}
    report.sections[f"copy: {mib} MiB in {files} files"] = list(rows.values())
    report.compare(f"{OURS} / {THEIRS}", rows[OURS], rows[THEIRS], GOAL)


def _plant(source: Path, files: int, total: int) -> None:
    content = os.urandom(total // files)
    for index in range(files):
        place = source / str(index // _WIDTH) / str(index % 20)
        if index % _WIDTH < 20:
            place.mkdir(parents=True)
        (place / str(index)).write_bytes(content)


def _take(name: str, source: Path) -> float:
    from claude_bottle.backend import tree

    with _volume() as (container, directory):
        started = time.perf_counter()
        if name == OURS:
            tree.copy_into(source, directory, _OWNER)
        else:
            _docker("cp", f"{source}/.", f"{container}:/workspace")
        took = time.perf_counter() - started
        there = sum(len(names) for _, _, names in os.walk(directory))
    if there != sum(len(names) for _, _, names in os.walk(source)):
        sys.exit(f"{name} copied {there} files")
    return took


@contextmanager
def _volume() -> Iterator[tuple[str, Path]]:
    """A container that never ran, with an empty volume at /workspace."""
    name = _docker("volume", "create")
    container = _docker("create", "--network=none", f"--volume={name}:/workspace", peers.IMAGE, "/bin/true")
    try:
        yield container, Path(_docker("volume", "inspect", "--format={{.Mountpoint}}", name))
    finally:
        _docker("rm", container)
        _docker("volume", "rm", name)


def _docker(*words: str) -> str:
    return subprocess.run(["docker", *words], capture_output=True, text=True, check=True).stdout.strip()
