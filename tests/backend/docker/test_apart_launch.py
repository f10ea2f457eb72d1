"""Bottles apart on a real daemon: a layer that was lost on the way to the engine is noticed before anything runs, and what an
agent leaves comes home whatever it is."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from claude_bottle.backend import get_bottle_backend
from claude_bottle.backend.docker import argv, owners, reader
from claude_bottle.backend.docker.backend import SECCOMP
from claude_bottle.errors import EnvironmentLacks
from claude_bottle.testing.conformance import Place
from claude_bottle.testing.conformance.place import shell
from tests.docker_engine import Engine

# A client that loses one word.
FORGETFUL = """#!/bin/bash
words=()
for word in "$@"; do [[ $word == {word} ]] || words+=("$word"); done
exec {client} "${{words[@]}}"
"""


@pytest.fixture
def apart(docker_host: Engine, base_image: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    state = tmp_path / "state"
    state.mkdir(mode=0o700)
    monkeypatch.setenv("CLAUDE_BOTTLE_HOME", str(state))
    for name, said in (("config.json", {"gate": "container"}), ("image.json", {"base": base_image})):
        (state / name).write_text(json.dumps(said))
        (state / name).chmod(0o600)
    (tmp_path / "place").mkdir()
    return Place(get_bottle_backend("docker"), tmp_path / "place")


@pytest.mark.parametrize("word", [
    "--read-only", "--cap-drop=ALL", "--security-opt=no-new-privileges", "--security-opt=seccomp=*", "--network=none",
    "--pids-limit=*",
])  # fmt: skip
def test_a_bottle_that_lost_a_layer_never_runs_a_program(
    apart: Place, word: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = apart.plan()
    client = shutil.which("docker")
    shim = tmp_path / "shim"
    shim.mkdir()
    (shim / "docker").write_text(FORGETFUL.format(word=word, client=client))
    (shim / "docker").chmod(0o755)
    with monkeypatch.context() as patch:
        patch.setenv("PATH", f"{shim}:/usr/bin:/bin")
        with pytest.raises(EnvironmentLacks), apart.backend.launch(plan, boot=apart.boot()):
            pass
    assert apart.identity not in apart.backend.leftovers()


@pytest.mark.parametrize(("said", "instead", "lost"), [
    (argv.RELAY, argv.RELAY.replace("relay.main()", "import init; init.protect = lambda: None; relay.main()"),
     "Seccomp_filters"),
    (f"--security-opt=seccomp={SECCOMP}", "--security-opt=seccomp=unconfined", "Seccomp, Seccomp_filters"),
], ids=["its own", "the engine's"])  # fmt: skip
def test_neither_of_its_filters_stands_for_the_other(
    apart: Place, said: str, instead: str, lost: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan, words = apart.plan(), argv.run
    with monkeypatch.context() as patch:
        patch.setattr(argv, "run", lambda container: [instead if word == said else word for word in words(container)])
        with pytest.raises(EnvironmentLacks) as lacks, apart.backend.launch(plan, boot=apart.boot()):
            pass
    assert lacks.value.why == f"first process: {lost}"
    assert apart.identity not in apart.backend.leftovers()


def test_with_all_of_them_it_runs_one(apart: Place) -> None:
    with apart.up() as bottle:
        assert shell(bottle, "echo it runs").out == "it runs\n"
    assert apart.identity not in apart.backend.leftovers()


def test_large_files_many_and_links_go_in_and_come_back(apart: Place) -> None:
    (apart.home / "large").write_bytes(bytes(range(256)) * (1 << 16))
    for number in range(300):
        (apart.home / f"file-{number}").write_text(str(number))
    (apart.home / "link").symlink_to("file-7")
    with apart.up() as bottle:
        said = shell(bottle, "cat ~/link; ls ~ | wc -l; sha256sum ~/large | cut -c1-8; chmod 600 ~/file-1; rm ~/file-2")
        assert said.out.startswith("7302\n"), said
        bottle.close()
        bottle.fetch_home()
    assert (apart.home / "large").read_bytes() == bytes(range(256)) * (1 << 16)
    assert (apart.home / "link").readlink() == Path("file-7")
    assert not (apart.home / "file-2").exists()


LEAVE = r"""
import os
os.chdir("/home/agent")
os.makedirs(".claude/projects")
for place in (".", ".claude/projects"):
    with open(place + "/endless", "wb") as file:
        file.truncate(1 << 42)
    os.mkfifo(place + "/pipe")
with open(".claude/projects/conversation", "w") as file:
    file.write("said")
os.mkdir("closed")
with open("closed/file", "w") as file:
    file.write("kept")
os.chmod("closed/file", 0)
os.chmod("closed", 0)
for _ in range(140):
    os.mkdir("d")
    os.chdir("d")
"""


@pytest.mark.threat(95)
def test_pipes_endless_files_and_depth_keep_nothing_from_coming_home_while_it_runs_or_afterwards(apart: Place) -> None:
    with apart.up() as bottle:
        assert shell(bottle, f"python3 -c '{LEAVE}'").code == 0
        bottle.fetch_home([".claude/projects"])
        assert (apart.home / ".claude/projects/conversation").read_text() == "said"
        bottle.close()
        (note,) = bottle.fetch_home()
    assert note.endswith("d/d: too deep")
    assert (apart.home / ".claude/projects/conversation").read_text() == "said"
    assert (apart.home / "closed/file").read_text() == "kept"
    for name in ("endless", ".claude/projects/endless"):
        found = (apart.home / name).stat()
        assert (found.st_size, found.st_blocks) == (1 << 42, 0)
    assert not list(apart.home.rglob("pipe"))
    assert apart.identity not in apart.backend.leftovers()


def test_what_reads_the_volumes_has_no_network_no_right_but_to_read_and_nothing_to_write(
    apart: Place, docker_host: Engine
) -> None:
    with apart.up() as bottle:
        volume = f"{bottle.name}-home"
        labels = json.loads(docker_host.docker("volume", "inspect", "--format={{json .Labels}}", volume))
        words = reader.run_words(f"{volume}-reader", [volume], labels, labels[owners.READER], "")
        docker_host.docker("create", *(word for word in words[1 : words.index("--") + 2] if word != "--rm"))
        try:
            made = json.loads(docker_host.docker("inspect", f"{volume}-reader"))[0]
        finally:
            docker_host.docker("rm", f"{volume}-reader")
    host = made["HostConfig"]
    assert (host["NetworkMode"], host["CapDrop"]) == ("none", ["ALL"])
    assert [name.removeprefix("CAP_") for name in host["CapAdd"]] == ["DAC_OVERRIDE"]
    assert (host["ReadonlyRootfs"], host["Privileged"]) == (True, False)
    assert {option.partition("=")[0] for option in host["SecurityOpt"]} == {"no-new-privileges", "seccomp"}
    assert [(mount["Type"], mount["RW"]) for mount in made["Mounts"]] == [("volume", False)]
    assert made["Config"]["Image"].startswith("claude-bottle/gate:")
    assert made["Config"]["Labels"][owners.IDENTITY] == apart.identity
