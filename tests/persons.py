"""The fixture `person`: each test that takes it runs twice, as root and as an ordinary user."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.ordinary_user import Person, an_ordinary_user, end_all_of, whoever_runs_the_tests


@pytest.fixture(scope="session")
def everybody() -> Iterator[dict[str, Person]]:
    place = Path(os.path.realpath(tempfile.mkdtemp(prefix="cb-")))
    place.chmod(0o755)
    for name in ("root", "user"):
        (place / name).mkdir()
    yield {"root": whoever_runs_the_tests(place / "root"), "user": an_ordinary_user(place / "user")}
    end_all_of(place / "user")  # podman leaves a process with a user's namespaces, for the next time
    shutil.rmtree(place, ignore_errors=True)  # which may take a moment to end


@pytest.fixture(params=["root", "user"])
def person(request: pytest.FixtureRequest, everybody: dict[str, Person]) -> Person:
    if request.param == "root" and os.geteuid() != 0:
        pytest.skip("cannot run here: the tests are not run by root")
    return everybody[request.param]
