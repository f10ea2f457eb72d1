"""A bottle apart is refused as soon as one layer is not in force, by its own word or by the engine's."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from claude_bottle.backend.base import Boot
from claude_bottle.backend.docker import apart, apart_launch, argv
from claude_bottle.backend.docker.engine import Engine
from claude_bottle.backend.docker.framing import MESSAGE, frame
from claude_bottle.backend.docker.placement import Machine
from claude_bottle.backend.docker.rundir import RunDir
from claude_bottle.errors import BottleError, EnvironmentLacks
from claude_bottle.model.plan import BottlePlan, Limit, Mount, Workspace
from claude_bottle.state.paths import Paths

ZERO = "0" * 16
FACTS = {**dict.fromkeys(("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"), ZERO), "NoNewPrivs": "1", "Seccomp": "2",
         "Uid": "1000\t1000\t1000\t1000"}  # fmt: skip
READY: dict[str, Any] = {"op": "ready", "facts": FACTS, "read_only": True, "devices": ["lo"], "seen": {"/data": [1, 2]}}
SOURCES = {"/data": [1, 2]}
LIMITS = (Limit("memory", "1g", True, "cgroup"), Limit("pids", "9", True, "cgroup"), Limit("cpus", "1", True, "cgroup"))
MADE: dict[str, Any] = {
    "NetworkMode": "none", "CapDrop": ["ALL"], "CapAdd": ["CAP_NET_ADMIN", "SETUID"], "Privileged": False,
    "ReadonlyRootfs": True, "SecurityOpt": ["no-new-privileges", "seccomp={}"], "PidMode": "", "IpcMode": "private",
    "UTSMode": "", "Devices": [], "DeviceRequests": None, "PortBindings": {}, "PublishAllPorts": False, "Memory": 1 << 30,
    "PidsLimit": 9, "NanoCpus": 10**9,
}  # fmt: skip


def test_one_with_every_layer_is_taken() -> None:
    apart._verify(READY, SOURCES, 1000)
    apart._verify(READY, None, 1000)  # mounts of another machine cannot be compared


@pytest.mark.parametrize(("key", "value"), [
    *((name, "0000000000001000") for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")),
    ("NoNewPrivs", "0"), ("Seccomp", "0"), ("Uid", "0\t0\t0\t0"), ("Uid", "1000\t0\t1000\t1000"), ("Uid", "1001\t" * 4),
])  # fmt: skip
def test_one_that_says_of_itself_that_a_layer_is_missing_is_refused(key: str, value: str) -> None:
    with pytest.raises(EnvironmentLacks, match="not in force") as refused:
        apart._verify({**READY, "facts": {**FACTS, key: value}}, SOURCES, 1000)
    assert key in refused.value.why
    without = {name: said for name, said in FACTS.items() if name != key}
    with pytest.raises(EnvironmentLacks, match="not in force"):
        apart._verify({**READY, "facts": without}, SOURCES, 1000)


@pytest.mark.parametrize("change", [
    {"read_only": False}, {"read_only": None}, {"devices": ["lo", "eth0"]}, {"devices": []}, {"devices": None},
    {"seen": {}}, {"seen": {"/data": [1, 3]}}, {"facts": None}, {"facts": {}},
])  # fmt: skip
def test_one_whose_root_network_or_mounts_are_others_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(EnvironmentLacks):
        apart._verify({**READY, **change}, SOURCES, 1000)


def made(place: Path, monkeypatch: pytest.MonkeyPatch, said: dict[str, Any]) -> int:
    """What `_verify_made` makes of an engine that says so."""
    (place / "said").write_text(f"{json.dumps(said)} 1\n")
    (place / "docker").write_text(f"#!/bin/sh\ncat {place}/said\n")
    (place / "docker").chmod(0o755)
    monkeypatch.setenv("PATH", f"{place}:/usr/bin:/bin")
    container = argv.Container("name", (), "image", "", "", "", limits=LIMITS)
    return apart._verify_made(Engine(), "c0ffee", apart.Recipe(container, 1000, 1000, here=True))


def test_what_the_engine_made_is_what_was_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert made(tmp_path, monkeypatch, MADE) == 0  # this machine's process 1 is not that container's


@pytest.mark.parametrize("change", [
    {"NetworkMode": "bridge"}, {"NetworkMode": "host"}, {"CapDrop": None}, {"CapDrop": ["NET_RAW"]},
    {"CapAdd": ["SYS_ADMIN"]}, {"CapAdd": ["CAP_ALL"]}, {"Privileged": True}, {"ReadonlyRootfs": False},
    {"SecurityOpt": None}, {"SecurityOpt": ["no-new-privileges"]}, {"SecurityOpt": ["seccomp={}"]},
    {"SecurityOpt": ["no-new-privileges", "seccomp=unconfined"]}, {"PidMode": "host"}, {"IpcMode": "host"},
    {"IpcMode": "shareable"}, {"UTSMode": "host"}, {"Devices": [{"PathOnHost": "/dev/sda"}]},
    {"DeviceRequests": [{"Driver": "nvidia"}]}, {"PortBindings": {"80/tcp": [{}]}}, {"PublishAllPorts": True},
    {"Memory": 0}, {"PidsLimit": None}, {"NanoCpus": 0},
])  # fmt: skip
def test_a_layer_the_engine_did_not_make_is_refused(
    change: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(EnvironmentLacks, match="not in force"):
        made(tmp_path, monkeypatch, {**MADE, **change})


@pytest.mark.parametrize("missing", ["NetworkMode", "CapDrop", "Privileged", "ReadonlyRootfs", "SecurityOpt", "PidMode",
                                     "IpcMode", "UTSMode", "Memory", "PidsLimit", "NanoCpus"])  # fmt: skip
def test_a_layer_the_engine_does_not_speak_of_counts_as_missing(
    missing: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(EnvironmentLacks, match="not in force"):
        made(tmp_path, monkeypatch, {key: value for key, value in MADE.items() if key != missing})


def test_its_own_word_is_heard_before_anything_is_put_into_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    word = json.dumps({**READY, "seen": {}, "facts": {**FACTS, "CapEff": "0000000000000001"}})
    (tmp_path / "frame").write_bytes(frame(MESSAGE, 0, word.encode()))
    (tmp_path / "said").write_text(f"{json.dumps(MADE)} 1\n")
    client = f"#!/bin/sh\ncase $1 in run) cat {tmp_path}/frame; exec cat >/dev/null ;; inspect) cat {tmp_path}/said ;; esac\n"
    (tmp_path / "docker").write_text(client)
    (tmp_path / "docker").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    for name in ("home", "work"):
        (tmp_path / name).mkdir()
    container = argv.Container("name", (), "image", "", "", "", limits=LIMITS, meeting="type=volume")
    boot, run_dir = Boot("x-abc123", tmp_path / "home", tmp_path / "work"), RunDir(Paths(tmp_path, tmp_path), "x-abc123")
    with pytest.raises(EnvironmentLacks, match="not in force") as refused:
        apart.start(Engine(), boot, apart.Recipe(container, 1000, 1000, here=False), run_dir)
    assert "CapEff" in refused.value.why


def plan(**changes: Any) -> BottlePlan:
    fields: dict[str, Any] = {"workspace": Workspace("none", "/workspace"), "image_build": ({"kind": "gate", "tag": "x"},)}
    return BottlePlan("x-abc123", "x", "shell", "", "docker", "", (), **{**fields, **changes})


def test_nothing_of_this_machine_is_mounted_on_another(tmp_path: Path) -> None:
    boot, elsewhere = Boot("x-abc123", tmp_path, tmp_path), Machine(here=False)
    assert apart_launch._mounts(plan(), boot, elsewhere) == ()
    for changes in ({"mounts": (Mount(str(tmp_path), "/data"),)},
                    {"workspace": Workspace("bind", "/workspace", str(tmp_path))}):  # fmt: skip
        with pytest.raises(EnvironmentLacks, match="cannot be shown"):
            apart_launch._mounts(plan(**changes), boot, elsewhere)
        apart_launch._mounts(plan(**changes), boot, Machine(here=True))
        apart_launch._mounts(plan(**changes), boot, Machine(here=False, desktop=True))


def test_what_is_not_there_or_a_link_is_not_mounted(tmp_path: Path) -> None:
    boot = Boot("x-abc123", tmp_path, tmp_path)
    (tmp_path / "link").symlink_to("/etc")
    for name in ("gone", "link"):
        with pytest.raises(BottleError, match="cannot show"):
            apart_launch._mounts(plan(mounts=(Mount(str(tmp_path / name), "/data"),)), boot, Machine(here=True))
