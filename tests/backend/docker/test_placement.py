"""Where the gate runs: asked of the engine that the client means, by a client and an engine of the test's own."""

from __future__ import annotations

import json
import platform
import socketserver
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from claude_bottle.backend.docker import argv, prereqs, protections
from claude_bottle.backend.docker.engine import Engine
from claude_bottle.backend.docker.placement import CONTAINER, HOST, Machine, gate_place, machine
from claude_bottle.errors import EnvironmentLacks
from claude_bottle.manifest.bottle import Limits
from tests.docker_engine import SETTINGS

HERE = {"Version": "24.0.1", "KernelVersion": platform.release()}
ELSEWHERE = {"Version": "24.0.1", "KernelVersion": "6.6.0-linuxkit"}
CLIENT = """#!/bin/sh
case "$1" in
version) cat {place}/version ;;
info) cat {place}/info ;;
context) cat {place}/context ;;
esac
"""


class Told:
    """A client on PATH that answers as told, and an engine behind a socket that does."""

    def __init__(self, place: Path) -> None:
        self.place, self.socket = place, str(place / "engine.sock")
        (place / "docker").write_text(CLIENT.format(place=place))
        (place / "docker").chmod(0o755)
        self.says(HERE)

    def says(self, server: object, *, host: str = "unix:///var/run/docker.sock", info: object = None) -> None:
        for name, said in (("version", server), ("context", host), ("info", info or {})):
            (self.place / name).write_text(json.dumps(said))


@pytest.fixture
def told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Told]:
    for name in SETTINGS:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    made = Told(tmp_path)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    answering = engine(made)
    monkeypatch.setenv("DOCKER_HOST", f"unix://{made.socket}")
    yield made
    answering.shutdown()
    answering.server_close()


def engine(told: Told) -> socketserver.UnixStreamServer:
    class Answer(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            name = self.rfile.readline().split()[1].decode().strip("/")
            while self.rfile.readline().strip():
                pass
            self.wfile.write(b"HTTP/1.0 200 OK\r\n\r\n" + (told.place / name).read_bytes())

    server = socketserver.UnixStreamServer(told.socket, Answer)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    return server


def test_an_engine_of_this_kernel_behind_a_local_socket_is_here(told: Told) -> None:
    assert machine(Engine()) == Machine(here=True)
    assert gate_place(Engine(), "auto") == HOST


def test_what_the_operator_says_counts(told: Told) -> None:
    assert gate_place(Engine(), "container") == CONTAINER
    told.says(ELSEWHERE)
    assert gate_place(Engine(), "host") == HOST


def test_another_kernel_behind_a_local_socket_is_elsewhere_with_its_own_size(told: Told) -> None:
    told.says(ELSEWHERE, info={"NCPU": 3, "MemTotal": 4 << 30})
    assert machine(Engine()) == Machine(False, False, 3, 4 << 30)
    assert gate_place(Engine(), "auto") == CONTAINER


@pytest.mark.parametrize("option", ["name=userns", "name=rootless"])
def test_an_engine_that_maps_users_has_its_gate_beside_the_bottle(told: Told, option: str) -> None:
    """A gate on this host goes with a user that is verified as one of this host."""
    told.says(HERE, info={"SecurityOptions": ["name=seccomp,profile=default", option], "NCPU": 3})
    assert machine(Engine()) == Machine(here=True, mapped=True)
    assert gate_place(Engine(), "auto") == CONTAINER
    assert gate_place(Engine(), "host") == HOST
    plain = protections.protections(protections.BESIDE)
    mapped = protections.protections(protections.BESIDE, machine(Engine()))
    assert {layer.name for layer in mapped} - {layer.name for layer in plain} == {"own user namespace"}


def test_what_an_engine_cannot_enforce_is_planned_as_not_enforced(told: Told) -> None:
    told.says(HERE, info={"MemoryLimit": True, "PidsLimit": False, "CpuCfsQuota": False})
    found = protections.limits(Limits(), machine(Engine()))
    assert {limit.name for limit in found if not limit.enforced} == {"pids", "cpus", "disk"}
    assert not any(argv.limit_words(limit) for limit in found if not limit.enforced)


def test_docker_desktop_is_elsewhere_even_with_this_kernel(told: Told) -> None:
    told.says({**HERE, "Platform": {"Name": "Docker Desktop 4.30"}})
    assert (machine(Engine()).here, machine(Engine()).desktop) == (False, True)


@pytest.mark.parametrize("host", ["tcp://10.0.0.5:2376", "ssh://somebody@there", "npipe:////./pipe/docker_engine"])
def test_a_remote_engine_is_elsewhere_even_with_this_kernel(told: Told, monkeypatch: pytest.MonkeyPatch, host: str) -> None:
    monkeypatch.setenv("DOCKER_HOST", host)
    told.says(HERE, host=host)
    assert gate_place(Engine(), "auto") == CONTAINER


def test_a_named_context_is_asked_where_it_leads(told: Told, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DOCKER_HOST")
    monkeypatch.setenv("DOCKER_CONTEXT", "mine")
    told.says(HERE, host="unix:///run/user/1000/docker.sock")
    assert gate_place(Engine(), "auto") == HOST
    told.says(HERE, host="ssh://somebody@there")
    assert gate_place(Engine(), "auto") == CONTAINER


def test_an_engine_that_does_not_answer_is_told_of_later(told: Told, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "unix:///no/such/socket")
    (told.place / "docker").write_text("#!/bin/sh\necho 'Cannot connect to the Docker daemon' >&2; exit 1\n")
    assert gate_place(Engine(), "auto") == HOST
    monkeypatch.setenv("PATH", "/no/such/place")
    assert gate_place(Engine(), "auto") == HOST


def test_one_of_another_machine_is_enough_for_a_gate_beside_the_bottle_only(told: Told) -> None:
    told.says(ELSEWHERE)
    prereqs.require(Engine(), anywhere=True)
    with pytest.raises(EnvironmentLacks, match="another machine"):
        prereqs.require(Engine())


def test_limits_follow_the_machine_the_engine_runs_on() -> None:
    found = {limit.name: limit.value for limit in protections.limits(Limits(), Machine(False, False, 3, 4 << 30))}
    assert (found["cpus"], found["memory"]) == ("3", "3072m")
    assert protections.tmp_bytes(4 << 30) == 1 << 30
