"""What a bottle costs as a container: `run shell -- true` beside `docker run`, and attaching beside `docker exec -it`.

Both run on the same image, in turns. Ours has everything on, so it begins with a gate and ends with its objects removed.
The base image is the default one where the engine has it, else the tests' own, made without a registry.
"""

from __future__ import annotations

import json
import os
import pty
import select
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from bench import peers
from bench.figures import Ratio, Report, figure
from bench.launching import interleaved
from bench.product import Product

OURS, THEIRS = "claude-bottle run, as a container", "docker run --rm --network none IMAGE true"
ATTACH, EXEC = "claude-bottle attach, first byte", "docker exec -it, first byte"
LAUNCH_GOAL, ATTACH_GOAL_MS = 1.5, 150.0
_WORD = b"hello from inside"
_PATIENCE = 60.0


def product_on_docker(place: Path) -> Product | peers.Missing:
    """A project of its own in `place`, whose bottles are containers."""
    found = peers.docker()
    base = found if isinstance(found, peers.Missing) else _base()
    if isinstance(base, peers.Missing):
        return base
    place.mkdir()
    product = Product(place, CLAUDE_BOTTLE_BACKEND="docker")
    choice = product.home / "image.json"
    choice.write_text(json.dumps({"base": base}))
    choice.chmod(0o600)
    return product


def measure(report: Report, scratch: Path, runs: int) -> None:
    product = product_on_docker(scratch / "containers")
    if isinstance(product, peers.Missing):
        report.missing.append(f"containers: {product.why}")
        return
    plan = json.loads(product.command("start", "container", "--dry-run", "--format", "json").stdout)
    ours = product.argv("run", "container", "--", "true")
    product.command("run", "container", "--", "true")  # makes the image
    bare = ["docker", "run", "--rm", "--network", "none", "--entrypoint", "true", plan["image"]]
    taken = interleaved({OURS: ours, THEIRS: bare}, runs, cwd=product.place, env=product.env)
    rows = {name: figure(name, [cost.wall for cost in costs], "ms") for name, costs in taken.items()}
    report.sections["containers: command to exit"] = list(rows.values())
    steps = product.breakdown("run", "container", "--", "true", runs=max(2, runs // 2))
    report.sections["where a container's launch goes"] = steps
    report.compare(f"{OURS} / docker run", rows[OURS], rows[THEIRS], LAUNCH_GOAL)
    _attach(report, product, runs)


def _attach(report: Report, product: Product, runs: int) -> None:
    word = _WORD.decode()
    said = product.command("start", "container", "--yes", "--detach", "--", "sh", "-c", f"echo {word}; exec sleep 1000")
    identity = said.stdout.split()[-1]
    cases = {
        ATTACH: product.argv("attach", identity),
        EXEC: ["docker", "exec", "-it", f"claude-bottle-{identity}", "echo", word],
    }
    taken: dict[str, list[float]] = {name: [] for name in cases}
    for turn in range(runs + 1):
        for name, argv in cases.items():
            took = _until_heard(argv, product)
            if turn:
                taken[name].append(took)
    product.command("stop", identity)
    rows = {name: figure(name, values, "ms") for name, values in taken.items()}
    report.sections["containers: until the first byte"] = list(rows.values())
    more = rows[ATTACH].median - rows[EXEC].median
    report.ratios.append(Ratio("attach over docker exec -it", more, ATTACH_GOAL_MS, unit="ms"))


def _until_heard(argv: Sequence[str], product: Product) -> float:
    """Milliseconds from the start of a command in a terminal until it shows the word."""
    began = time.perf_counter()
    pid, master = pty.fork()
    if pid == 0:
        os.chdir(product.place)
        os.execvpe(argv[0], list(argv), product.env)
    heard = b""
    while _WORD not in heard:
        if not select.select([master], [], [], _PATIENCE)[0]:
            sys.exit(f"{argv} said nothing")
        heard += os.read(master, 65536)
    took = (time.perf_counter() - began) * 1e3
    os.close(master)  # hangs up: attach detaches
    os.waitpid(pid, 0)
    return took


def _base() -> str | peers.Missing:
    from claude_bottle.backend.docker.dockerfile import DEFAULT_BASE
    from tests import docker_image

    for tag in (DEFAULT_BASE, docker_image.TAG):
        if subprocess.run(["docker", "image", "inspect", tag], capture_output=True, check=False).returncode == 0:
            return tag
    archive = docker_image.root_file_system()
    if isinstance(archive, str):
        return peers.Missing(f"{archive}; or docker pull {DEFAULT_BASE}")
    made = subprocess.run(["docker", "import", str(archive), docker_image.TAG], capture_output=True, check=False)
    return docker_image.TAG if made.returncode == 0 else peers.Missing("docker import failed")
