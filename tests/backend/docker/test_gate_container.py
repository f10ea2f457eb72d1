"""What a gate's container is made of: words and images that hold nothing of what it is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from claude_bottle.backend.docker import gate_container, gate_image
from claude_bottle.errors import BottleError
from claude_bottle.model.plan import BottlePlan, Workspace

LABELS = (("claude-bottle.identity", "x-abc123"), ("claude-bottle.nonce", "00"))
WORDS = gate_container.words("x-abc123", "claude-bottle/gate:0123456789abcdef", LABELS, "/p/seccomp.json")


def test_its_words() -> None:
    assert WORDS[0] == "run"
    assert {
        "--interactive", "--rm", "--sig-proxy=false", "--name=claude-bottle-x-abc123-gate", "--network=bridge",
        "--user=65532:65532", "--read-only", "--cap-drop=ALL", "--security-opt=no-new-privileges",
        "--security-opt=seccomp=/p/seccomp.json", "--ipc=private", "--cgroupns=private", "--log-driver=none", "--pull=never",
        "--restart=no", "--init=false", "--memory=512m", "--memory-swap=512m", "--pids-limit=64",
        "--label=claude-bottle.identity=x-abc123", "--env=HTTPS_PROXY=", "--env=LD_PRELOAD=",
    } <= set(WORDS)  # fmt: skip
    assert WORDS[-4:] == ["--", "claude-bottle/gate:0123456789abcdef", "-I", gate_container.PLACE]


@pytest.mark.parametrize("option", ["--publish", "-p", "--privileged", "--cap-add", "--device", "--pid", "--volume"])
def test_options_it_never_has(option: str) -> None:
    assert not [word for word in WORDS if word == option or word.startswith((f"{option}=", f"{option} "))]


def test_the_only_thing_it_shares_is_the_volume_where_it_meets_the_bottle() -> None:
    (mount,) = (word for word in WORDS if word.startswith("--mount="))
    assert mount.startswith("--mount=type=volume,source=claude-bottle-x-abc123-gate,target=/run/bottle,volume-label=")
    theirs = gate_container.shared("x-abc123", LABELS, readonly=True)
    assert "readonly" in theirs.split(",")


def test_an_image_that_is_none_is_refused() -> None:
    with pytest.raises(BottleError, match="not an image"):
        gate_container.words("x-abc123", "--privileged", LABELS, "/p")


def test_a_plan_says_by_what_it_builds_where_its_gate_runs() -> None:
    plan = BottlePlan("x-abc123", "x", "shell", "", "docker", "", (), Workspace("none", "/workspace"))
    assert gate_container.image_of(plan) is None
    built = tuple(recipe.to_dict() for recipe in gate_image.recipes("debian:stable-slim"))
    plan = BottlePlan("x-abc123", "x", "shell", "", "docker", "", (), Workspace("none", "/workspace"), image_build=built)
    assert gate_container.image_of(plan) == gate_image.recipes("debian:stable-slim")[-1].tag


def test_its_image_is_named_by_its_base_and_by_every_file_in_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    python, gate = gate_image.recipes("debian:stable-slim")
    assert (python.network, gate.network, gate.parent) == (True, False, python.tag)
    assert gate_image.recipes("debian:stable-slim")[-1].tag == gate.tag
    assert gate_image.recipes("debian:12")[-1].tag != gate.tag
    changed = tmp_path / "remote.py"
    changed.write_text("changed")
    sources = dict(gate_image._sources())
    monkeypatch.setattr(gate_image, "_sources", lambda: iter({**sources, "claude_bottle/gate/remote.py": changed}.items()))
    assert gate_image.recipes("debian:stable-slim")[-1].tag != gate.tag


def test_its_image_holds_the_gate_and_nothing_that_knows_this_host() -> None:
    names = {name for name, _ in gate_image._sources()}
    assert {"claude_bottle/gate/remote.py", "claude_bottle/model/policy.py", "h11/_connection.py"} <= names
    assert {name.split("/")[1] for name in names if name.count("/") > 1} == {"gate", "model"}
    assert not [name for name in names if "+" in name]  # it stands for the slash in a context


def test_what_is_in_the_image_is_all_that_a_gate_imports() -> None:
    import subprocess
    import sys

    modules = "remote, process, server, session, dial, inject, confine, registration, ca, http, tunnel_stage, hello_stage"
    code = f"import sys; from claude_bottle.gate import {modules}; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    ours = {f"{name.replace('.', '/')}" for name in loaded if name.split(".")[0] in ("claude_bottle", "h11")}
    held = {name.removesuffix(".py").removesuffix("/__init__") for name, _ in gate_image._sources()}
    assert ours <= held
