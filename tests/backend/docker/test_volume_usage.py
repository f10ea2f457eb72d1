"""What a container bottle holds: all that it can fill and nothing of the host's, by descriptors of its volumes or by a
container of ours that looks at them."""

from __future__ import annotations

import json
import os
import shutil
from itertools import pairwise
from pathlib import Path

import pytest

from claude_bottle.backend.base import Bottle
from claude_bottle.backend.docker.volume_usage import VolumeUsage
from claude_bottle.errors import BottleError
from claude_bottle.testing.conformance import Place as Checked
from claude_bottle.testing.conformance.place import shell
from tests.backend.docker.bottles import Place, launched, output
from tests.backend.docker.test_apart_launch import apart
from tests.docker_engine import Engine
from tests.waiting import eventually

__all__ = ["apart"]

MIB = 1 << 20
pytestmark = pytest.mark.threat(117)

VOLUMES = ("/home/agent", "/workspace", "/image-volume/open")
MEMORY = ("tmpfs", "devtmpfs", "devpts", "mqueue")
FILL = "mkdir $0/d && head -c 1048576 /dev/zero > $0/d/big && chmod 0 $0/d/big $0/d"


def held(bottle: Bottle) -> int:
    usage = bottle.disk_usage([], 1 << 40)
    try:
        return usage.held()
    finally:
        usage.close()


def test_everything_a_bottle_can_fill_is_looked_at_and_what_the_host_shows_it_is_not(place: Place) -> None:
    (place.root / "shown").mkdir()
    (place.root / "shown/big").write_bytes(b"x" * 8 * MIB)
    with launched(place, mounts=[(str(place.root / "shown"), "/home/agent/shown")]) as bottle:
        found = [held(bottle)]
        for volume in VOLUMES:
            assert output(bottle, "sh", "-c", FILL, volume)[0] == 0
            found.append(held(bottle))
    assert found[0] < MIB / 4
    assert [round((after - before) / MIB) for before, after in pairwise(found)] == [1, 1, 1]


WRITABLE = """
import json, os, sys
with open("/proc/self/mountinfo") as mounts:
    kinds = {line.split()[2]: line.split(" - ")[1].split()[0] for line in mounts}
found = []
for place, directories, files in os.walk("/"):
    if place in sys.argv[1:]:
        directories.clear()
        continue
    for path in [place, *(os.path.join(place, name) for name in files)]:
        if os.access(path, os.W_OK) and not os.path.islink(path):
            device = os.stat(path).st_dev
            found.append([path, kinds["%d:%d" % (os.major(device), os.minor(device))]])
print(json.dumps(found))
"""


def test_whatever_else_a_bottle_can_write_to_is_in_memory(place: Place) -> None:
    """Which its memory limit bounds, as every tmpfs has its size."""
    with launched(place) as bottle:
        code, said = output(bottle, "python3", "-I", "-c", WRITABLE, "/proc", "/sys", *VOLUMES)
        sizes = output(bottle, "stat", "--file-system", "--format=%b", "/tmp", "/var/tmp", "/dev/shm", "/run")[1]
    found = json.loads(said)
    assert code == 0
    assert {"/tmp", "/var/tmp", "/dev/shm"} <= {path for path, _ in found}
    assert [(path, kind) for path, kind in found if kind not in MEMORY] == []
    assert "0" not in sizes.split()


def looking(engine: Engine, identity: str) -> list[str]:
    return [name for name in engine.docker("ps", "--all", "--format={{.Names}}").split() if f"{identity}-usage-" in name]


def looking_at(apart: Checked, bottle: Bottle) -> VolumeUsage:
    usage = bottle.disk_usage([], MIB)
    assert isinstance(usage, VolumeUsage)
    return usage


def test_where_no_descriptor_can_be_had_a_container_looks_which_is_begun_when_asked_and_ends_at_the_end(
    apart: Checked, docker_host: Engine
) -> None:
    with apart.up() as bottle:
        usage = looking_at(apart, bottle)
        assert looking(docker_host, apart.identity) == []
        assert usage.held() < MIB / 4
        (name,) = looking(docker_host, apart.identity)
        assert shell(bottle, FILL.replace("$0", "/home/agent")).code == 0
        eventually(lambda: usage.held() > MIB)  # at the latest when it looks anyway: others may free as much there
        assert shell(bottle, FILL.replace("$0", "/workspace")).code == 0
        assert usage.held() > MIB  # when it is too much no more is looked at
        assert looking(docker_host, apart.identity) == [name]
        usage.close()
        eventually(lambda: looking(docker_host, apart.identity) == [])


def test_it_has_no_network_no_right_but_to_read_and_is_found_by_the_bottles_labels(
    apart: Checked, docker_host: Engine
) -> None:
    with apart.up() as bottle:
        usage = looking_at(apart, bottle)
        usage.held()
        (name,) = looking(docker_host, apart.identity)
        made = json.loads(docker_host.docker("inspect", name))[0]
        bottle.close()
        bottle.release()  # with everything that has its labels
        assert looking(docker_host, apart.identity) == []
        usage.close()
    host = made["HostConfig"]
    assert (host["NetworkMode"], host["CapDrop"], host["ReadonlyRootfs"]) == ("none", ["ALL"], True)
    assert [capability.removeprefix("CAP_") for capability in host["CapAdd"]] == ["DAC_OVERRIDE"]
    shown = sorted((mount["Name"].removeprefix(bottle.name), mount["RW"]) for mount in made["Mounts"])
    assert shown == [("-home", False), ("-work", False)]
    assert made["Config"]["Image"].startswith("claude-bottle/gate:")


def test_one_that_was_ended_is_begun_again_and_goes_on(apart: Checked, docker_host: Engine) -> None:
    with apart.up() as bottle:
        usage = looking_at(apart, bottle)
        before = usage.held()
        (name,) = looking(docker_host, apart.identity)
        docker_host.docker("kill", name)
        assert usage.held() == before
        assert name not in looking(docker_host, apart.identity)
        usage.close()


def test_where_it_cannot_be_begun_again_that_is_told_and_nothing_is_left(
    apart: Checked, docker_host: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with apart.up() as bottle:
        usage = looking_at(apart, bottle)
        usage.held()
        (name,) = looking(docker_host, apart.identity)
        shim = tmp_path / "shim"
        shim.mkdir()
        client = f'#!/bin/sh\n[ "$1" = run ] && echo "no such luck" >&2 && exit 1\nexec {shutil.which("docker")} "$@"\n'
        (shim / "docker").write_text(client)
        (shim / "docker").chmod(0o755)
        docker_host.docker("kill", name)
        with monkeypatch.context() as patch:
            patch.setenv("PATH", f"{shim}:{os.environ['PATH']}")
            with pytest.raises(BottleError, match="nobody can tell") as told:
                usage.held()
        assert told.value.why == "no such luck"
        usage.close()
        eventually(lambda: looking(docker_host, apart.identity) == [])
