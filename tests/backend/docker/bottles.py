"""Container bottles for the tests: launched through the public contract, by the test process in the keeper's part."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from claude_bottle.backend.base import Boot
from claude_bottle.backend.docker import protections
from claude_bottle.backend.docker.backend import DockerBackend
from claude_bottle.backend.docker.bottle import DockerBottle
from claude_bottle.manifest.bottle import Limits
from claude_bottle.model.plan import BottlePlan, Mount, Workspace
from tests.in_bottle import ENV, Gate

if TYPE_CHECKING:
    from tests.docker_engine import Engine  # needs pytest, which an ordinary user's Python has not


@dataclass(frozen=True)
class Place:
    """A state root with a bottle's directories, the daemon, and an image whose first process is ours. `identity` is one
    that no other test of this daemon uses."""

    root: Path
    home: Path
    workspace: Path
    engine: Engine
    image: str
    identity: str

    def objects(self) -> list[str]:
        """Everything of this identity on the daemon, by name."""
        containers = self.engine.docker("ps", "--all", "--format={{.Names}}").split()
        volumes = self.engine.docker("volume", "ls", "--quiet").split()
        return sorted(name for name in containers + volumes if self.identity in name)

    def inspect(self, kind: str, name: str) -> Any:
        import json

        return json.loads(self.engine.docker(kind, "inspect", name))[0]


def plan(place: Place, **changes: Any) -> BottlePlan:
    fields: dict[str, Any] = {
        "slug": place.identity, "agent": "tester", "harness": "shell", "harness_version": "", "backend": "docker",
        "image": place.image, "command": ("sh", "-c"), "workspace": Workspace("none", "/workspace"), "env": ENV,
        "limits": protections.limits(Limits(memory=512 << 20, pids=200)),
    }  # fmt: skip
    return BottlePlan(**{**fields, **changes})


@contextmanager
def launched(place: Place, *, identity: str = "", gate: Gate | None = None, **options: Any) -> Iterator[DockerBottle]:
    """A bottle that is released at the end. `options` are the plan's fields or the boot's."""
    boot_fields = {name: options.pop(name) for name in ("ports", "ca_bundle", "copy_from", "overlay") if name in options}
    mounts = tuple(Mount(*mount) for mount in options.pop("mounts", ()))
    boot = Boot(identity or place.identity, place.home, place.workspace, gate.theirs if gate else None, "00ff", **boot_fields)
    with DockerBackend().launch(plan(place, mounts=mounts, **options), boot=boot) as bottle:
        try:
            yield bottle
        finally:
            bottle.release()


def start(bottle: DockerBottle, *argv: str, stdin: int = -1, out: int = 1, err: int = 2, **options: Any) -> Any:
    with open("/dev/null") as null:
        stdio = (null.fileno() if stdin < 0 else stdin, out, err)
        return bottle.spawn(argv, env=options.pop("env", ENV), stdio=stdio, **options)


def output(bottle: DockerBottle, *argv: str, **options: Any) -> tuple[int, str]:
    """(exit code, stdout) of a program."""
    end, other = os.pipe()
    process = start(bottle, *argv, out=other, **options)
    os.close(other)
    with open(end, "rb") as said:
        text = said.read().decode()
    return process.wait(), text
