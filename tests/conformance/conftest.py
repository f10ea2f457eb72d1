"""The backends that keep the contract, each with what it needs: a state root, a docker daemon, a storage of podman."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from claude_bottle.backend import get_bottle_backend
from claude_bottle.backend.base import Backend
from claude_bottle.backend.fake.backend import FakeBackend
from claude_bottle.testing.conformance import DEVIATIONS
from claude_bottle.testing.conformance.deviations import APART
from claude_bottle.testing.conformance.standing import Standing
from tests.docker_engine import SETTINGS as OF_DOCKER
from tests.docker_engine import base_image, docker_engine
from tests.docker_image import TAG
from tests.podman_engine import SETTINGS as OF_PODMAN
from tests.podman_engine import podman_engine
from tests.registries import Registries

__all__ = ["base_image", "docker_engine", "podman_engine"]


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


@pytest.fixture(scope="module", params=sorted(DEVIATIONS))
def kind(request: pytest.FixtureRequest) -> str:
    """A backend as the table of deviations calls it."""
    name: str = request.param
    return name


@pytest.fixture(scope="module")
def host(request: pytest.FixtureRequest, kind: str, state_root: Path, registries: Registries) -> Iterator[None]:
    """What this backend needs: its engine, and the operator's settings for it."""
    said: dict[str, dict[str, object]] = {"config.json": registries.settings()}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CLAUDE_BOTTLE_HOME", str(state_root))
        if kind in ("docker", APART):
            turn_to(patch, OF_DOCKER, request.getfixturevalue("docker_engine").settings)
            said = {"image.json": {"base": request.getfixturevalue("base_image")},
                    "config.json": {"gate": "container" if kind == APART else "host"}}  # fmt: skip
        if kind == "podman":
            turn_to(patch, OF_PODMAN, request.getfixturevalue("podman_engine").settings)
            said["image.json"] = {"base": TAG}
        for name, content in said.items():
            (state_root / name).write_text(json.dumps(content))
            (state_root / name).chmod(0o600)
        yield


@pytest.fixture
def backend(host: None, kind: str) -> Backend:
    return made(kind)


@pytest.fixture(scope="module")
def standing(host: None, kind: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Standing]:
    kept = Standing(made(kind), tmp_path_factory.mktemp("standing"))
    yield kept
    kept.close()


def made(kind: str) -> Backend:
    return FakeBackend() if kind == "fake" else get_bottle_backend(kind.split(",")[0])


def turn_to(patch: pytest.MonkeyPatch, names: tuple[str, ...], settings: Mapping[str, str]) -> None:
    """Have this process's environment point at an engine, by these of its client's variables."""
    for name in names:
        patch.delenv(name, raising=False)
    for name, value in settings.items():
        patch.setenv(name, value)
