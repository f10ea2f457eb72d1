"""What tests of tools share: registries that builds find, and a project with them, on any backend."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import APART
from tests.e2e.project import Project
from tests.registries import Registries

FRAGMENT = "RUN cd /usr/local/bin && printf '#!/bin/sh\\necho tool-of-the-layer\\n' > brandnew && chmod 755 brandnew\n"
# One tool, as each backend can build it without a network of the engine's.
TOOLS: dict[str, dict[str, Any]] = {"bubblewrap": {"pip": ["brandnew"]}, "docker": {"dockerfile": FRAGMENT}}


def kind(project: Project) -> str:
    return "docker" if project.containers else "bubblewrap"


@pytest.fixture
def registries(tmp_path: Path) -> Iterator[Registries]:
    made = Registries(tmp_path / "registries")
    made.python("brandnew", says="tool-of-the-layer")
    yield made
    made.close()


@pytest.fixture
def project(request: pytest.FixtureRequest, tmp_path: Path, tools: Path, registries: Registries) -> Iterator[Project]:
    """On the backend of the test's parameter, with the `turns` of its module (a list, or one made for a backend)."""
    wanted = getattr(request, "param", "bubblewrap")
    found = request.getfixturevalue("containers") if wanted in ("docker", APART) else None
    turns = request.module.TURNS
    made = Project(tmp_path, tools, turns("docker" if found else wanted) if callable(turns) else turns, containers=found)
    said, more = json.loads((made.home / "config.json").read_text()), registries.settings()
    made.settings("config.json", {**said, **more, "upstreams": {**said["upstreams"], **more["upstreams"]}})
    if wanted == APART:
        made.place_gate("container")
    made.trust()
    yield made
    made.close()
    assert made.objects() == []
