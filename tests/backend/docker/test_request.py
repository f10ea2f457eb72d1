"""What the engine is asked for without its client is what the client would ask for, and nothing else is ever asked."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from claude_bottle.backend.docker import argv, begun, endpoint, request
from claude_bottle.backend.docker.backend import DockerBackend
from claude_bottle.backend.docker.engine import Engine
from claude_bottle.model.plan import Limit, Mount
from tests.backend.docker.bottles import Place, launched, output, plan

LABELS = (("claude-bottle.identity", "a-123456"), ("claude-bottle.schema", "1"))
SECCOMP = Path(argv.__file__).with_name("seccomp.json")
# What differs between two containers of one description: names, times, and where the engine puts them.
OWN = {"Id", "Created", "Name", "HostnamePath", "HostsPath", "ResolvConfPath", "LogPath", "GraphDriver", "State"}


def full(place: Place, name: str) -> argv.Container:
    """A container with everything that one can have."""
    for directory in ("run", 'odd,"name', "work"):
        (place.root / directory).mkdir(exist_ok=True)
    mounts = (Mount(f'{place.root}/odd,"name', "/opt/odd", "ro"), Mount(f"{place.root}/work", "/opt/work", "rw"))
    limits = (Limit("memory", "512m", True), Limit("cpus", "1.25", True), Limit("pids", "99", True))
    return argv.Container(
        name, LABELS, place.image, str(place.root / "run"), str(place.root / f"{name}.cid"), str(SECCOMP), mounts=mounts,
        files=((str(SECCOMP), "/etc/passwd"),), limits=limits, volumes=("/image-volume",), tmp_bytes=1 << 20,
    )  # fmt: skip


def variants(place: Place, name: str) -> Iterator[argv.Container]:
    from claude_bottle.values import replace

    whole = full(place, name)
    yield whole
    yield replace(whole, workspace=str(place.root / "work"), mounts=(), files=(), limits=(), volumes=())
    yield replace(whole, covered=True, limits=(Limit("memory", "1g", True), Limit("cpus", "2", True)))


def told(place: Place, name: str) -> dict[str, Any]:
    found = place.inspect("container", name)
    kept = {key: value for key, value in found.items() if key not in OWN}
    kept["HostConfig"].pop("ContainerIDFile")  # only the client notes where it wrote it
    kept["Config"]["Env"].sort()
    for attached in ("AttachStdout", "AttachStderr"):
        kept["Config"].pop(attached)  # `create` has no --detach
    kept["HostConfig"]["CapAdd"] = sorted(one.removeprefix("CAP_") for one in kept["HostConfig"]["CapAdd"])
    profile, *others = sorted(kept["HostConfig"]["SecurityOpt"], key=lambda option: not option.startswith("seccomp="))
    kept["HostConfig"]["SecurityOpt"] = [json.loads(profile.removeprefix("seccomp=")), *others]
    for mounts in (kept["Mounts"], kept["HostConfig"]["Mounts"]):
        mounts.sort(key=lambda mount: mount.get("Destination") or mount["Target"])
        for mount in mounts:
            if not mount.get("Name", "").startswith("claude-bottle-"):  # one that has no name got a new one
                mount.pop("Name", None)
                mount.pop("Source" if mount["Type"] == "volume" else "", None)
    return kept


def flat(value: Any, at: str = "") -> dict[str, Any]:
    """Every leaf by its path; what says nothing (null, an empty list) is left out."""
    if isinstance(value, dict):
        return {path: leaf for key, inner in value.items() for path, leaf in flat(inner, f"{at}.{key}").items()}
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return flat({str(number): inner for number, inner in enumerate(value)}, at)
    return {} if value in (None, [], "") else {at: value}


def test_the_engine_makes_the_same_of_the_request_as_of_the_clients_words(place: Place, docker_client: str) -> None:
    name = f"claude-bottle-{place.identity}"
    for container in variants(place, name):
        words = argv.run(container)
        created = [word for word in words[1:] if word not in ("--detach", "--pull=never")]
        place.engine.docker("create", *created, client=docker_client)
        Path(container.cid_file).unlink()
        by_client = told(place, name)
        place.engine.docker("rm", "--force", "--volumes", name)
        wanted = request.body(words)
        assert wanted is not None and wanted[0] == name
        made = endpoint.ask("POST", f"/v{endpoint.version()}/containers/create?name={name}", wanted[1])
        assert made is not None and made[0] == 201, made
        assert flat(told(place, name)) == flat(by_client)
        place.engine.docker("rm", "--force", "--volumes", name)
        place.engine.docker("volume", "rm", "--force", f"{name}-home", f"{name}-work")


def test_every_option_of_a_container_has_its_place(place: Place) -> None:
    """Nothing is left to the client that a bottle on this host needs: it would silently be slower."""
    for container in variants(place, "claude-bottle-x"):
        assert request.body(argv.run(container)) is not None


@pytest.mark.parametrize("word", ["--privileged", "--rm=false", "--device=/dev/kvm", "--pid=host", "--read-only=false",
                                  "--init", "--memory=1.5x", "--cpus=a", "--ulimit=core", "--tmpfs=/x", "--label=x",
                                  "--mount=type=bind,volume-driver=x", "--mount=readonly=false", "--user=1:1",
                                  "--network=host", "--security-opt=seccomp=/none", "", "x"])  # fmt: skip
def test_a_word_it_does_not_know_is_left_to_the_client(place: Place, word: str) -> None:
    words = argv.run(full(place, "claude-bottle-x"))
    assert request.body([*words[:2], word, *words[2:]]) is None


def test_only_a_detached_run_is_one(place: Place) -> None:
    words = argv.run(full(place, "claude-bottle-x"))
    assert request.body(["run", *words[2:]]) is None
    assert request.body(["create", *words[1:]]) is None
    assert request.body([word for word in words if word != "--"]) is None
    assert request.body([word for word in words if not word.startswith("--name=")]) is None


def count_clients(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    asked: list[str] = []
    popen = Engine.popen

    def counted(engine: Engine, words: list[str], **options: Any) -> Any:
        asked.append(words[0])
        return popen(engine, words, **options)

    monkeypatch.setattr(Engine, "popen", counted)
    return asked


def test_a_launch_needs_no_client_where_the_engine_can_be_asked(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = count_clients(monkeypatch)
    with launched(place) as bottle:
        assert output(bottle, "echo", "up") == (0, "up\n")
    assert asked == []
    assert place.objects() == []


@pytest.mark.parametrize("lacking", ["endpoint", "words", "refused"])
def test_the_client_starts_what_the_engine_cannot_be_asked_for(
    place: Place, monkeypatch: pytest.MonkeyPatch, lacking: str
) -> None:
    asked = count_clients(monkeypatch)
    if lacking == "endpoint":
        monkeypatch.setattr(endpoint, "version", lambda: None)
    elif lacking == "words":
        monkeypatch.setattr(request, "body", lambda _words: None)
    else:
        ask = endpoint.ask
        monkeypatch.setattr(endpoint, "ask", lambda method, path, body=None, **more:
                            (400, {}) if "/create" in path else ask(method, path, body, **more))  # fmt: skip
    assert lacking == "refused" or DockerBackend().begin(plan(place), ()) is None
    with launched(place) as bottle:
        assert output(bottle, "echo", "up") == (0, "up\n")
    assert asked == ["run"]
    assert place.objects() == []


def test_a_start_that_the_engine_refuses_is_told_in_its_words(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    words = argv.run
    monkeypatch.setattr(argv, "run", lambda container: [
        "--entrypoint=/not-there" if word.startswith("--entrypoint=") else word for word in words(container)
    ])  # fmt: skip
    asked = count_clients(monkeypatch)
    with pytest.raises(Exception, match="docker refused") as refused, launched(place):
        pass
    assert "not-there" in str(getattr(refused.value, "why", ""))
    assert asked == [] and place.objects() == []


@pytest.mark.parametrize("said", [b"HTTP/1.0 200 OK\r\nServer: Libpod/4.3.1\r\nApi-Version: 1.41\r\n\r\nOK",
                                  b"HTTP/1.0 200 OK\r\nServer: Docker/19.03\r\nApi-Version: 1.40\r\n\r\nOK",
                                  b"HTTP/1.0 200 OK\r\nServer: Docker/20.10\r\n\r\nOK",
                                  b"HTTP/1.0 500 No\r\nServer: Docker/20.10\r\nApi-Version: 1.41\r\n\r\n", b""])  # fmt: skip
def test_an_engine_that_is_not_dockers_or_too_old_is_not_asked_for_containers(
    said: bytes, engine_that_says: Any
) -> None:
    engine_that_says(said)
    assert endpoint.version() is None


@pytest.mark.parametrize(("has", "spoken"), [("1.41", "1.41"), ("1.43", "1.43"), ("1.52", "1.44")])
def test_the_newest_version_that_both_know_is_spoken(has: str, spoken: str, engine_that_says: Any) -> None:
    engine_that_says(f"HTTP/1.0 200 OK\r\nApi-Version: {has}\r\nServer: Docker/29.0.1 (linux)\r\n\r\nOK".encode())
    assert endpoint.version() == spoken
    assert Engine("podman").interface is None


def test_what_is_begun_and_abandoned_leaves_nothing(place: Place) -> None:
    way = DockerBackend().begin(plan(place), ())
    assert isinstance(way, begun.Underway)
    assert place.objects() == [f"claude-bottle-{place.identity}", f"claude-bottle-{place.identity}-home",
                               f"claude-bottle-{place.identity}-work"]  # fmt: skip
    way.abandon()
    assert place.objects() == []
    assert list((place.root / "state" / "run").iterdir()) == []
    way.abandon()


def test_a_launch_goes_on_with_what_was_begun(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    from claude_bottle.backend.base import Boot

    way = DockerBackend().begin(plan(place), ())
    monkeypatch.setattr(begun, "ask", None)
    boot = Boot(place.identity, place.home, place.workspace, None, "00ff", begun=way)
    with DockerBackend().launch(plan(place), boot=boot) as bottle:
        assert way is not None
        way.abandon()  # is the launch's now
        assert output(bottle, "echo", "up") == (0, "up\n")  # type: ignore[arg-type]
        bottle.close()
        bottle.release()
    assert place.objects() == []
