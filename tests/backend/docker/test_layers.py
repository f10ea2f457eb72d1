"""Capabilities as images: one step that says everything, from registries of the operator's, with nothing secret in it."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from claude_bottle.backend.docker.backend import DockerBackend
from claude_bottle.backend.docker.capability_apply import apply_capability
from claude_bottle.backend.docker.engine import Engine
from claude_bottle.backend.docker.layers import fragment
from claude_bottle.errors import BottleError, EnvironmentLacks
from claude_bottle.model.capability import PACKAGES, Capability, check_fragment
from claude_bottle.state.config import Registry
from tests.backend.docker.bottles import Place, launched, output, plan
from tests.registries import Registries, package

ITEMS = {"apt": "ripgrep=13.0.0-4", "pip": "ruff[x]>=0.9", "npm": "@scope/name@^1.0", "cargo": "fd-find@10.2.0",
         "go": "example.com/mod/cmd/tool"}  # fmt: skip
MIRROR = Registry("http://mirror.test/x", ("stable",), ("main",))
# What the private daemon's containers call this machine's loopback.
LOOPBACK = "10.0.2.2"
FAILS = Capability("dockerfile", (), "RUN echo before && exit 7\n")
GOOD = Capability("dockerfile", (), "RUN echo made > /made\n")


def refuse(_name: str, _rules: object) -> object:
    raise AssertionError("the engine has a network of its own")


@pytest.fixture
def registries(tmp_path: Path) -> Iterator[Registries]:
    made = Registries(tmp_path / "registries")
    yield made
    made.close()


@pytest.mark.parametrize("kind", PACKAGES)
@pytest.mark.parametrize("registry", [None, MIRROR], ids=["public", "mirror"])
@pytest.mark.parametrize("trusting", [False, True])
def test_whatever_is_installed_the_text_is_one_plain_step(
    kind: str, registry: Registry | None, trusting: bool, tmp_path: Path
) -> None:  # fmt: skip
    (tmp_path / "ca.pem").write_text("-----BEGIN CERTIFICATE-----\n")
    text = fragment(Capability(kind, (ITEMS[kind],)), registry, str(tmp_path / "ca.pem") if trusting else None)
    check_fragment(text)
    assert text.startswith("RUN ") and text.count("\n") == 1
    assert subprocess.run(["sh", "-n", "-c", text[4:]], check=False).returncode == 0
    words = shlex.split(text[4:].replace(";", " ; "))
    # Each package is one word behind what ends the options.
    at = words.index(ITEMS[kind])
    assert kind == "go" or "--" in words[:at]
    assert ("mirror.test" in text) == (registry is not None)
    assert text.endswith("rm -f /tmp/claude-bottle-authorities.pem\n") == trusting


def test_a_bundle_too_large_for_a_step_is_told(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_bytes(b"x" * 100_000)
    with pytest.raises(BottleError, match="too large"):
        fragment(Capability("pip", ("ruff",)), None, str(tmp_path / "ca.pem"))


def test_packages_come_from_the_operators_archive(place: Place, registries: Registries, tmp_path: Path) -> None:
    """With the text as it is built; only the name of the host is another one, since containers have their own."""
    if not place.engine.private:
        pytest.skip("cannot run here: a container of this daemon does not reach this machine's loopback")
    registries.debian(package(tmp_path, "brandnew", {"usr/bin/brandnew": "#!/bin/sh\necho from the archive\n"}))
    url = f"http://{LOOPBACK}:{registries.plain_port}/debian"
    registry = Registry(url, ("stable",), ("main",), str(registries.keyring))
    text = fragment(Capability("apt", ("brandnew",)), registry, None)
    tag = apply_capability(Engine(), place.image, text, lambda _line: None, network=True)
    with launched(place, image=tag) as bottle:
        assert output(bottle, "brandnew")[1] == "from the archive\n"
    other = Registries(tmp_path / "other")
    other.debian(package(tmp_path, "brandmore", {"usr/bin/brandmore": "#!/bin/sh\n"}))
    other.close()
    unsigned = Registry(url, ("stable",), ("main",), str(other.keyring))
    text = fragment(Capability("apt", ("brandnew",)), unsigned, None)
    with pytest.raises(BottleError) as refused:
        apply_capability(Engine(), place.image, text, print, network=True)
    assert re.search("signed|NO_PUBKEY|signatures", refused.value.why)


def test_a_layer_is_in_image_and_plan_and_a_failed_one_in_neither(place: Place) -> None:
    backend, before = DockerBackend(), plan(place)
    made = backend.build_layer(before, GOOD, lambda _line: None, refuse)  # type: ignore[arg-type]
    assert made.image == made.layers[0].name == made.image_build[-1]["tag"]
    assert made.layers[0].reaches == ()
    with pytest.raises(BottleError) as failed:
        backend.build_layer(made, FAILS, lambda _line: None, refuse)  # type: ignore[arg-type]
    assert "before" in failed.value.why
    assert not place.engine.docker("image", "ls", "--quiet", backend.with_layer(made, FAILS).image)
    with launched(place, image=made.image) as bottle:
        assert output(bottle, "cat", "/made")[1] == "made\n"


def test_without_what_it_stands_on_nothing_is_built_or_fetched(place: Place) -> None:
    gone = plan(place, image="claude-bottle/agent:0000000000000000")
    with pytest.raises(EnvironmentLacks, match="missing"):
        DockerBackend().build_layer(gone, GOOD, print, refuse)  # type: ignore[arg-type]


def test_prune_keeps_what_a_kept_bottle_runs_on(place: Place) -> None:
    from claude_bottle.state.files import write_atomic
    from claude_bottle.state.paths import Paths
    from claude_bottle.state.record import BottleRecord
    from claude_bottle.state.store import Store
    from claude_bottle.workflow import images

    backend, paths = DockerBackend(), Paths.default()
    other = Capability("dockerfile", (), f"RUN echo {place.identity} > /other\n")
    kept = backend.build_layer(plan(place), GOOD, lambda _line: None, refuse)  # type: ignore[arg-type]
    unused = backend.build_layer(plan(place), other, lambda _line: None, refuse)  # type: ignore[arg-type]
    Store(paths).create(BottleRecord(place.identity, "tester", "shell", "docker"))
    write_atomic(paths.plan(place.identity), json.dumps(kept.to_dict()).encode())
    assert {kept.image, unused.image} <= {str(one["name"]) for one in images.known("docker")}
    wanted = images._wanted(paths)
    assert kept.image in wanted
    assert unused.image not in wanted
