"""An engine that gives its containers' users other ids: bottles have a user namespace there, and their gate beside them."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from claude_bottle.backend import get_bottle_backend
from claude_bottle.errors import EnvironmentLacks
from claude_bottle.testing.conformance import Place
from claude_bottle.testing.conformance.place import shell
from tests.backend.docker.conftest import point_at
from tests.docker_daemon import FIRST_ID
from tests.docker_engine import Engine, own_engine
from tests.docker_image import TAG, root_file_system


@pytest.fixture(scope="module")
def remapped() -> Iterator[Engine]:
    if os.geteuid() != 0:
        pytest.skip("cannot run here: the tests start a daemon only as root")
    archive = root_file_system()
    if isinstance(archive, str):
        pytest.skip(f"cannot run here: {archive}")
    with own_engine(remapped=True) as engine:
        engine.docker("import", str(archive), TAG)
        yield engine


@pytest.fixture
def place(remapped: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    point_at(monkeypatch, remapped, tmp_path)
    say(tmp_path, "image.json", {"base": TAG})
    (tmp_path / "place").mkdir()
    return Place(get_bottle_backend("docker"), tmp_path / "place")


def say(root: Path, name: str, what: object) -> None:
    (root / "state").mkdir(mode=0o700, exist_ok=True)
    (root / "state" / name).write_text(json.dumps(what))
    (root / "state" / name).chmod(0o600)


def test_its_bottles_have_a_user_namespace_and_a_gate_beside_them(place: Place) -> None:
    (place.home / "brought").write_text("in")
    plan = place.plan()
    assert place.backend.gate_command(plan) is not None
    assert "own user namespace" in {layer.name for layer in plan.protections if layer.state == "on"}
    with place.up() as bottle:
        said = shell(bottle, "id -u; cat ~/brought; echo out > ~/taken; cat /proc/self/uid_map").out.split()
        assert said == ["1000", "in", "0", str(FIRST_ID), "65536"]
        bottle.close()
        bottle.fetch_home()
    assert (place.home / "taken").read_text() == "out\n"
    assert (place.home / "taken").stat().st_uid == 0
    assert place.backend.leftovers() == ()


def test_what_looks_at_what_they_hold_sees_what_they_have_closed(place: Place) -> None:
    with place.up() as bottle:
        assert shell(bottle, "mkdir ~/d && head -c 1048576 /dev/zero > ~/d/big && chmod 0 ~/d/big ~/d ~").code == 0
        usage = bottle.disk_usage([], 1 << 40)
        assert 1 << 20 <= usage.held() < 3 << 19
        usage.close()


@pytest.mark.parametrize("owner", [0, 1234])
def test_a_directory_that_is_worked_on_stays_its_owners(place: Place, tmp_path: Path, owner: int) -> None:
    project = tmp_path / "project"
    project.mkdir()
    (project / "mine").write_text("here")
    for path in (project, project / "mine"):
        os.chown(path, owner, owner)
    with place.up(place.boot(workspace=project), cwd=project, workspace={"mode": "bind"}) as bottle:
        assert shell(bottle, "cat mine; echo changed > mine; echo new > new; stat -c %U mine new").out == "hereagent\nagent\n"
    assert {(path.read_text(), path.stat().st_uid) for path in project.iterdir()} == {("changed\n", owner), ("new\n", owner)}


def test_a_gate_on_this_host_is_refused_there(place: Place, tmp_path: Path) -> None:
    say(tmp_path, "config.json", {"gate": "host"})
    with pytest.raises(EnvironmentLacks, match="maps its containers' users") as refused, place.up():
        pass
    assert refused.value.do == 'say "gate": "auto" in config.json'
    assert place.backend.leftovers() == ()
