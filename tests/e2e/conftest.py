"""Fixtures of the end-to-end tests: an operator's project, with the agent program installed once for all of them."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.docker_engine import Engine, base_image, docker_engine
from tests.e2e.project import Containers, Project
from tests.persons import everybody, person

__all__ = ["base_image", "docker_engine", "everybody", "person"]
BACKENDS = ("bubblewrap", "docker")
# On docker as where its engine runs on another machine.
APART = "docker, gate in a container"


@pytest.fixture(scope="session")
def tools() -> Path:
    """Where Claude Code is installed for the tests: once, by our own installer, shared by all workers."""
    from claude_bottle.harness import get
    from claude_bottle.state.paths import Paths

    place = Path(os.environ.get("CLAUDE_BOTTLE_TEST_TOOLS") or Path.home() / ".cache" / "claude-bottle-test-tools")
    place.mkdir(parents=True, exist_ok=True)
    paths = Paths(place.parent / "claude-bottle-test-root", place)
    harness = get("claude")
    if harness.find(paths) is None:
        harness.install(paths, lambda text: None)
    return place


@pytest.fixture(scope="session")
def containers(docker_engine: Engine, base_image: str, tools: Path, tmp_path_factory: pytest.TempPathFactory) -> Containers:
    """The daemon of this run, with the agent's image in it: built once, by our own command line."""
    found = Containers(docker_engine, base_image)
    place = tmp_path_factory.mktemp("image")
    with docker_engine.lock("agent-image"):
        builder = Project(place, tools, containers=found)
        try:
            builder.do("image", "build")
        finally:
            builder.close()
    return found


@pytest.fixture
def turns() -> list[dict[str, Any]]:
    """What the model says before it falls back to the usual replies; a module with another script has its own."""
    return []


@pytest.fixture
def project(
    request: pytest.FixtureRequest, tmp_path: Path, tools: Path, turns: list[dict[str, Any]]
) -> Iterator[Project]:
    """On bubblewrap; on another backend for tests that are parametrized so. Whatever a test leaves in a container engine
    is removed by `cleanup`, and then there is nothing left."""
    wanted = getattr(request, "param", BACKENDS[0])
    with project_on(wanted, containers_of(request, wanted), tmp_path, tools, turns) as made:
        yield made


def containers_of(request: pytest.FixtureRequest, backend: str) -> Containers | None:
    found: Containers | None = request.getfixturevalue("containers") if backend in ("docker", APART) else None
    return found


@contextmanager
def project_on(
    backend: str, containers: Containers | None, place: Path, tools: Path, turns: list[dict[str, Any]],
    **settings: dict[str, Any],
) -> Iterator[Project]:  # fmt: skip
    """A trusted one; `settings` are added to those of its config.json."""
    made = Project(place, tools, turns, containers=containers)
    if settings:
        said = json.loads((made.home / "config.json").read_text())
        made.settings("config.json", said | {name: said.get(name, {}) | more for name, more in settings.items()})
    if backend == APART:
        made.place_gate("container")
    made.trust()
    yield made
    made.close()
    assert made.objects() == []
