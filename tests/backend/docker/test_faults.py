"""An engine that is restarted or crashes under a running bottle: what was written is kept, and nothing is left."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from claude_bottle.backend import get_bottle_backend
from claude_bottle.errors import BottleError
from tests.backend.docker.bottles import Place, launched, output, start
from tests.backend.docker.conftest import build_agent_image, make_place, point_at
from tests.docker_engine import Engine, own_engine
from tests.docker_image import TAG, root_file_system
from tests.waiting import eventually, readable


@pytest.fixture(scope="module")
def fragile() -> Iterator[tuple[Engine, str]]:
    """A daemon of this module's own, and the image in it."""
    if os.geteuid() != 0:
        pytest.skip("cannot run here: the tests start a daemon only as root")
    archive = root_file_system()
    if isinstance(archive, str):
        pytest.skip(f"cannot run here: {archive}")
    with own_engine() as engine:
        engine.docker("import", str(archive), TAG)
        yield engine, build_agent_image(engine, TAG)


@pytest.fixture
def place(fragile: tuple[Engine, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    point_at(monkeypatch, fragile[0], tmp_path)
    return make_place(tmp_path, *fragile)


def test_a_restart_ends_the_bottle_and_loses_nothing(place: Place) -> None:
    with launched(place) as bottle:
        output(bottle, "sh", "-c", "echo written > ~/kept")
        process = start(bottle, "sh", "-c", "trap 'echo last >> ~/kept; exit 5' TERM; while :; do sleep 0.02; done")
        place.engine.restart(signal.SIGTERM)
        assert readable(bottle.fileno())
        assert process.wait() in (5, 137, 143)
        bottle.close()
        bottle.fetch_home()
        bottle.release()
    assert (place.home / "kept").read_text().startswith("written\n")
    eventually(lambda: place.objects() == [])


def test_a_crashed_engine_does_not_end_the_work(place: Place) -> None:
    with launched(place) as bottle:
        place.engine.end_dockerd(signal.SIGKILL)
        try:
            if bottle.alive():
                assert output(bottle, "sh", "-c", "echo on > ~/on; echo went on") == (0, "went on\n")
                bottle.fetch_home()
                assert (place.home / "on").read_text() == "on\n"
            with pytest.raises(BottleError):
                get_bottle_backend("docker").require()
            assert get_bottle_backend("docker").leftovers() == ()
        finally:
            place.engine.restart()
    eventually(lambda: place.objects() == [])


def test_what_could_not_be_removed_is_removed_by_the_next_command(place: Place) -> None:
    with launched(place) as bottle:
        output(bottle, "sh", "-c", "echo kept > ~/kept")
        bottle.close()
        place.engine.end_dockerd(signal.SIGKILL)
        try:
            bottle.fetch_home()
            with pytest.raises(BottleError):
                bottle.release()
        finally:
            place.engine.restart()
        assert get_bottle_backend("docker").leftovers() == (place.identity,)
        get_bottle_backend("docker").recover(place.identity, place.home, place.workspace)
        assert (place.home / "kept").read_text() == "kept\n"
        assert place.objects() == []
