"""What `doctor` says of an engine: its floor, what is weaker with the way out, and nothing loud where there is none."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from claude_bottle.backend import get_bottle_backend
from claude_bottle.backend.base import Check
from claude_bottle.errors import EnvironmentLacks
from tests.docker_engine import ROOT, SETTINGS
from tests.docker_engine import Engine as Daemon

INFO: dict[str, Any] = {
    "ServerVersion": "28.2.2", "OperatingSystem": "Debian", "SecurityOptions": ["name=seccomp,profile=builtin"],
    "MemoryLimit": True, "PidsLimit": True, "CpuCfsQuota": True, "CgroupVersion": "2",
}  # fmt: skip


@pytest.fixture
def client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A client on PATH that talks to no engine but says what the files beside it hold."""
    place = tmp_path / "bin"
    place.mkdir()
    (place / "docker").write_text(f"#!/bin/sh\ncat {place}/$1.json\n")
    (place / "docker").chmod(0o755)
    for name in SETTINGS:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("DOCKER_HOST", "ssh://elsewhere")  # so that the engine's socket is not asked
    monkeypatch.setenv("PATH", f"{place}:/usr/bin:/bin")
    monkeypatch.setenv("CLAUDE_BOTTLE_HOME", str(tmp_path / "root"))
    return place


def says(client: Path, version: str = "28.2.2", gate: str = "host", **changes: Any) -> dict[str, Check]:
    server = {"Version": version, "KernelVersion": os.uname().release}
    (client / "version.json").write_text(json.dumps(server))
    (client / "info.json").write_text(json.dumps({**INFO, **changes}))
    root = client.parent / "root"
    root.mkdir(mode=0o700, exist_ok=True)
    (root / "config.json").write_text(json.dumps({"gate": gate}))
    (root / "config.json").chmod(0o600)
    return {check.name: check for check in get_bottle_backend("docker").check()}


def test_a_good_engine_is_weaker_in_one_thing_only(client: Path) -> None:
    found = says(client)
    assert [check.name for check in found.values() if check.state != "ok"] == ["user namespace"]
    assert "28.2.2 (at least 20.10)" in found["docker"].detail


VERSIONS = [("20.10.24", True), ("20.9", False), ("19.03.15", False), ("100.0", True), ("", False)]


@pytest.mark.parametrize(("version", "enough"), VERSIONS)
def test_the_floor_is_20_10(client: Path, version: str, enough: bool) -> None:
    found = says(client, version)
    assert (found["docker"].state == "ok") is enough
    assert enough or "20.10 or newer" in found["docker"].fix
    if not enough:
        with pytest.raises(EnvironmentLacks, match="too old"):
            get_bottle_backend("docker").require()


@pytest.mark.parametrize(
    ("said", "name", "state"),
    [
        ({"CgroupVersion": "1"}, "cgroups", "weaker"), ({"MemoryLimit": False}, "memory limit", "weaker"),
        ({"PidsLimit": False}, "process limit", "weaker"), ({"CpuCfsQuota": False}, "cpu limit", "weaker"),
        ({"SecurityOptions": []}, "seccomp", "missing"), ({}, "user namespace", "weaker"),
        ({"SecurityOptions": ["name=seccomp", "name=userns"]}, "docker", "missing"),
        ({"SecurityOptions": ["name=seccomp", "name=rootless"]}, "docker", "missing"),
    ],
)  # fmt: skip
def test_what_is_less_than_it_could_be_has_a_way_out(client: Path, said: dict[str, Any], name: str, state: str) -> None:
    check = says(client, **said)[name]
    assert (check.state, bool(check.detail), bool(check.fix)) == (state, True, True)


def test_an_engine_that_maps_users_may_have_its_gate_beside_the_bottle(client: Path) -> None:
    assert says(client, gate="container", SecurityOptions=["name=seccomp", "name=userns"])["user namespace"].state == "ok"


def test_what_is_weaker_in_an_ordinary_users_own_engine_has_the_way_out_of_its_kernel(client: Path) -> None:
    said = {"SecurityOptions": ["name=seccomp", "name=rootless"], "MemoryLimit": False}
    assert "ordinary user's own" in says(client, gate="container", **said)["docker"].detail
    assert "Delegate" in says(client, gate="container", **said)["memory limit"].fix
    assert "unified" in says(client, gate="container", CgroupVersion="1", **said)["memory limit"].fix


def test_where_nobody_installed_an_engine_doctor_is_content(client: Path, tmp_path: Path) -> None:
    """On a machine where bubblewrap works."""
    bare = tmp_path / "bare"
    bare.mkdir()
    for name in ("bwrap", "sh", "cat", "true"):
        (bare / name).symlink_to(shutil.which(name) or pytest.skip(f"cannot run here: no {name}"))
    command = [sys.executable, "-m", "claude_bottle", "doctor", "--json"]
    env = {**os.environ, "PATH": str(bare), "PYTHONPATH": str(ROOT), "CLAUDE_BOTTLE_HOME": str(tmp_path / "empty")}
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    said = json.loads(done.stdout)
    checks = {section["name"]: section["checks"] for section in said["sections"]}
    for name in ("docker", "podman"):
        assert [check["state"] for check in checks[f"backend {name}"]] == ["absent"]
    if "bubblewrap" in said["backends"]:
        assert done.returncode == 0
    assert said["backends"] in ([], ["bubblewrap"])


def test_a_real_engine_is_described(docker_host: Daemon) -> None:
    found = {check.name: check for check in get_bottle_backend("docker").check()}
    assert found["docker"].state == "ok" and "at least 20.10" in found["docker"].detail
    assert all(check.fix for check in found.values() if check.state != "ok")
