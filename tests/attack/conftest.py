"""Fixtures of the attack suite: every test that takes `bottle` or `operator` runs for each person on each backend.

To put a backend under the same attacks, add its name to BACKENDS. One bottle per person and backend is shared by all
tests that only look or knock; a test that breaks one takes `operator` and starts its own. With the gate in a container the
world is on the engine's side, too (`Beside`).
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.attack.operators import APART, Bottle, Operator
from tests.attack.world import Beside, World
from tests.docker_engine import Engine, base_image, docker_engine
from tests.persons import everybody, person

__all__ = ["base_image", "docker_engine", "everybody", "person"]

BACKENDS = ("bubblewrap", "docker")
EVERYONE = [*((name, backend) for backend in BACKENDS for name in ("root", "user")), ("root", APART)]


@pytest.fixture(scope="session")
def world() -> Iterator[World]:
    place = Path(os.path.realpath(tempfile.mkdtemp(prefix="cb-world-")))
    place.chmod(0o755)
    made = World(place)
    yield made
    made.close()
    shutil.rmtree(place)


@pytest.fixture(scope="session", params=EVERYONE, ids=[re.sub("[, ]+", "-", "-".join(one)) for one in EVERYONE])
def operator(request: pytest.FixtureRequest, everybody: dict[str, object], world: World) -> Operator:
    name, backend = request.param
    if name == "root" and os.geteuid() != 0:
        pytest.skip("cannot run here: the tests are not run by root")
    made = Operator(everybody[name], request.getfixturevalue("beside") if backend == APART else world, backend)
    if backend != "bubblewrap":
        made.may_use(request.getfixturevalue("docker_engine"), request.getfixturevalue("base_image"))
    made.trust()
    return made


@pytest.fixture(scope="session", params=["root", "user"])
def reader(request: pytest.FixtureRequest, everybody: dict[str, object], world: World) -> Operator:
    """Each person on one backend: for attacks that are over before a backend has any part in them."""
    if request.param == "root" and os.geteuid() != 0:
        pytest.skip("cannot run here: the tests are not run by root")
    made = Operator(everybody[request.param], world, "bubblewrap")
    made.trust()
    return made


@pytest.fixture(scope="session")
def beside(world: World, docker_engine: Engine, base_image: str) -> Iterator[World]:
    if not docker_engine.private:
        pytest.skip("cannot run here: gates in containers are led into the tests' world on an engine of the tests' own only")
    place = Path(os.path.realpath(tempfile.mkdtemp(prefix="cb-world-")))
    place.chmod(0o755)
    made = Beside(world, docker_engine, base_image, place)
    yield made
    made.close()
    shutil.rmtree(place)


@pytest.fixture(scope="session")
def shared(operator: Operator) -> Iterator[Bottle]:
    made = operator.start()
    yield made
    made.close()


@pytest.fixture
def bottle(shared: Bottle) -> Bottle:
    """The shared running bottle; what arrived before is forgotten."""
    shared.world.clear()
    return shared
