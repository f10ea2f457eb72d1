"""What tests of tools share: registries that builds find, and a project with them, on any backend."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import containers_of, project_on
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
    found, turns = containers_of(request, wanted), request.module.TURNS
    turns = turns("docker" if found else wanted) if callable(turns) else turns
    with project_on(wanted, found, tmp_path, tools, turns, **registries.settings()) as made:
        yield made
