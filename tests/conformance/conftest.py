"""The backends that keep the contract, each with what it needs: a state root, a docker daemon, a storage of podman."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from claude_bottle.backend import get_bottle_backend
from claude_bottle.backend.base import Backend
from claude_bottle.backend.fake.backend import FakeBackend
from claude_bottle.testing.conformance import DEVIATIONS
from claude_bottle.testing.conformance.deviations import APART
from tests.docker_engine import base_image, docker_engine, docker_host
from tests.docker_image import TAG
from tests.podman_engine import podman_engine, podman_host
from tests.registries import Registries

__all__ = ["base_image", "docker_engine", "docker_host", "podman_engine", "podman_host"]


@pytest.fixture(scope="session")
def state_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("conformance") / "root"
    root.mkdir(mode=0o700)
    return root


@pytest.fixture(scope="session")
def registries(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registries]:
    """Where the packages of the checks come from."""
    made = Registries(tmp_path_factory.mktemp("registries"))
    for name in ("layered", "another"):
        made.python(name, says=name)
    yield made
    made.close()


@pytest.fixture(params=sorted(DEVIATIONS))
def kind(request: pytest.FixtureRequest) -> str:
    """A backend as the table of deviations calls it."""
    name: str = request.param
    return name


@pytest.fixture
def backend(
    request: pytest.FixtureRequest, kind: str, state_root: Path, registries: Registries, monkeypatch: pytest.MonkeyPatch
) -> Backend:  # fmt: skip
    monkeypatch.setenv("CLAUDE_BOTTLE_HOME", str(state_root))
    (state_root / "config.json").write_text(json.dumps(registries.settings()))
    (state_root / "config.json").chmod(0o600)
    if kind == "fake":
        return FakeBackend()
    if kind in ("docker", APART):
        request.getfixturevalue("docker_host")
        settings = {"gate": "container" if kind == APART else "host"}
        for name, said in (("image.json", {"base": request.getfixturevalue("base_image")}), ("config.json", settings)):
            (state_root / name).write_text(json.dumps(said))
            (state_root / name).chmod(0o600)
    if kind == "podman":
        request.getfixturevalue("podman_host")
        (state_root / "image.json").write_text(json.dumps({"base": TAG}))
        (state_root / "image.json").chmod(0o600)
    return get_bottle_backend(kind.split(",")[0])
