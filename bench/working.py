"""What it costs to give a bottle a project to work on, and to keep it at a moment.

A layer over the directory against no workspace at all, by the step of a launch in which it is made; a private copy and a
clone beside the tools one would use; a checkpoint of what an agent wrote over the project, the first and the next one. What
shares files with the original (`git clone --local` links its packs) is shown, but not what a copy is held to.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from bench import peers
from bench.containers import product_on_docker
from bench.figures import Ratio, Report, figure
from bench.product import Product

OVERLAY, NONE = "a layer over it", "no workspace"
_GIT = ["git", "-c", "user.name=a", "-c", "user.email=a@b.test", "-c", "gc.auto=0"]
_CHANGED = 500
# Launches vary by more than what is measured.
_TURNS = 3


def measure(report: Report, product: Product, scratch: Path, runs: int, files: int, mib: int) -> None:
    from bench.copying import _plant

    source = scratch / "project-tree"
    _plant(source, files, mib << 20)
    title = f"{mib} MiB in {files} files"
    _launches(report, product, source, runs, title)
    docker = product_on_docker(scratch / "work-on-docker")
    if isinstance(docker, peers.Missing):
        report.missing.append(f"work in a container: {docker.why}")
    elif os.geteuid() != 0:
        report.missing.append("work in a container: only root has layers there")
    else:
        _launches(report, docker, source, runs, f"{title}, as a container")
    subprocess.run([*_GIT, "init", "-q"], cwd=source, check=True)
    subprocess.run([*_GIT, "add", "."], cwd=source, check=True)
    subprocess.run([*_GIT, "commit", "-qm", "x"], cwd=source, check=True)
    _copies(report, scratch, source, runs, title)
    _checkpoints(report, scratch, source, runs)


def _launches(report: Report, product: Product, source: Path, runs: int, title: str) -> None:
    """Up to the step that ends with "bottle up", which a container is begun long before."""
    manifest = {
        "version": 1,
        "bottles": {"over": {"workspace": {"mode": "overlay"}}, "plain": {}},
        "agents": {name: {"bottle": name, "harness": "shell"} for name in ("over", "plain")},
    }
    (source / "claude-bottle.json").write_text(json.dumps(manifest))
    env = product.env | {"CLAUDE_BOTTLE_TIMING": "1"}
    subprocess.run(product.argv("trust", "--yes"), cwd=source, env=product.env, capture_output=True, check=True)
    taken: dict[str, list[float]] = {"over": [], "plain": []}
    for turn in range(_TURNS * runs + 1):
        for agent, found in taken.items():
            command = product.argv("run", agent, "--", "true")
            done = subprocess.run(command, cwd=source, env=env, capture_output=True, text=True, check=True,
                                  stdin=subprocess.DEVNULL)  # fmt: skip
            step = next(line for line in done.stderr.splitlines() if line.endswith("bottle up"))
            if turn:
                found.append(float(step.split("timing")[1].split()[0]))
    (source / "claude-bottle.json").unlink()
    over, plain = figure(OVERLAY, taken["over"], "ms"), figure(NONE, taken["plain"], "ms")
    report.sections[f"work: a bottle comes up, {title}"] = [over, plain]
    report.ratios.append(Ratio(f"what a layer adds to a start, {title}", max(0.0, over.median - plain.median), 50, unit="ms"))


def _copies(report: Report, scratch: Path, source: Path, runs: int, title: str) -> None:
    from claude_bottle.backend import clone, tree

    ways: dict[str, Callable[[Path], object]] = {
        "our copy": lambda target: (target.mkdir(), tree.copy_into(source, target)),
        "cp -a": lambda target: _run("cp", "-a", source, target),
        "cp -a --reflink=auto": lambda target: _run("cp", "-a", "--reflink=auto", source, target),
        "our clone": lambda target: (target.mkdir(), clone.into(source, target, "bottle/bench", ())),
        "git clone --no-hardlinks": lambda target: _run("git", "clone", "-q", "--no-hardlinks", source, target),
        "git clone --local (shares files)": lambda target: _run("git", "clone", "-q", "--local", source, target),
    }
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(runs + 1):
        for name, way in ways.items():
            target = scratch / "copied"
            started = time.perf_counter()
            way(target)
            if turn:
                taken[name].append(time.perf_counter() - started)
            shutil.rmtree(target)
    rows = {name: figure(name, seconds, "s") for name, seconds in taken.items()}
    report.sections[f"work: on the host, {title}"] = list(rows.values())
    fastest = min((rows["cp -a"], rows["cp -a --reflink=auto"]), key=lambda row: row.median)
    report.compare(f"our copy / {fastest.what}", rows["our copy"], fastest, 1.3)
    report.compare("our clone / git clone --no-hardlinks", rows["our clone"], rows["git clone --no-hardlinks"], 1.3)


def _checkpoints(report: Report, scratch: Path, source: Path, runs: int) -> None:
    taken: dict[str, list[float]] = {name: [] for name in ("the first, of a running one", "the next", "of a stopped one")}
    for _ in range(runs):
        for name, milliseconds in zip(taken, _three(scratch, source), strict=True):
            taken[name].append(milliseconds)
    rows = [figure(name, milliseconds, "ms") for name, milliseconds in taken.items()]
    report.sections[f"work: a checkpoint of {_CHANGED} changed files over it"] = rows
    report.ratios.append(Ratio("a checkpoint on a layer", max(row.median for row in rows), 300, unit="ms"))


def _three(scratch: Path, source: Path) -> tuple[float, float, float]:
    """A layer with `_CHANGED` files: copied, then one of them changed and copied again, then finished."""
    from claude_bottle.backend import freezing
    from claude_bottle.state import layers

    begun = layers.begin_at(scratch / "layers", source)
    for index in range(_CHANGED):
        (begun.upper / f"changed-{index}").write_bytes(os.urandom(4096))
    time.sleep(0.2)  # until it is no longer what has just been written
    started = time.perf_counter()
    seen = freezing.freeze(begun.upper, scratch / "first", layer=True)
    first = time.perf_counter()
    (begun.upper / "changed-0").write_bytes(b"x")
    freezing.freeze(begun.upper, scratch / "second", scratch / "first", seen, layer=True)
    second = time.perf_counter()
    layers.finish(begun)
    third = time.perf_counter()
    for place in ("first", "second", "layers"):
        shutil.rmtree(scratch / place)
    return (first - started) * 1000, (second - first) * 1000, (third - second) * 1000


def _run(*words: str | Path) -> None:
    subprocess.run([str(word) for word in words], check=True, capture_output=True)
