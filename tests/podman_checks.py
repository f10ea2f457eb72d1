"""Run as an ordinary user: some checks of the backend contract on podman; `python -m tests.podman_checks NAME...`.

Prints one JSON object, check → what went wrong ("" for nothing), and what the plan says of its limits and protections.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from claude_bottle.backend.docker.podman import PodmanBackend
from claude_bottle.backend.docker.podman_engine import Podman
from claude_bottle.errors import BottleError
from claude_bottle.state.paths import Paths
from claude_bottle.testing.conformance import Place, checks

BASE = "claude-bottle-tests/base:latest"


class Offline(Podman):
    """An ordinary user's builds have a network only where the user may make a tun device; the base image needs none."""

    def popen(self, arguments: Any, **options: Any) -> Any:
        words = ["--network=none" if word == "--network=default" else word for word in arguments]
        return super().popen(words, **options)


class OfflineBackend(PodmanBackend):
    def __init__(self) -> None:
        self._engine = Offline()


def main() -> None:
    backend, paths, found = OfflineBackend(), Paths.default(), {}
    paths.ensure_root()
    (paths.root / "image.json").write_text(json.dumps({"base": BASE}))
    (paths.root / "image.json").chmod(0o600)
    for check in checks():
        if check.name not in sys.argv[1:]:
            continue
        with tempfile.TemporaryDirectory() as directory:
            place = Place(backend, Path(directory))
            try:
                check.run(place)
                found[check.name] = ""
            except BottleError as problem:
                found[check.name] = f"{problem.what}: {problem.why}"
            except AssertionError as problem:
                found[check.name] = f"it does not hold: {problem}"
    with tempfile.TemporaryDirectory() as directory:
        plan = Place(backend, Path(directory)).plan()
    states = {one.name: one.state for one in backend.check()}
    limits = {one.name: one.enforced for one in plan.limits}
    protections = {one.name: one.state for one in plan.protections}
    print(json.dumps({"checks": found, "limits": limits, "protections": protections, "doctor": states}))


if __name__ == "__main__":
    main()
