"""Podman: the same bottle in its own words, what it needs and what is weaker, and that an ordinary user has it too.

Its full conformance is tests/conformance; here the rest, with podman itself where it is installed, and with a program that
answers in its place where an answer cannot be had on this machine.
"""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claude_bottle.backend import get_bottle_backend
from claude_bottle.backend.docker import argv, owners, podman, podman_prereqs
from claude_bottle.backend.docker.argv import Container
from claude_bottle.backend.docker.podman_engine import Podman, translate, volumes_of
from claude_bottle.cli import main
from claude_bottle.errors import BottleError, EnvironmentLacks
from claude_bottle.manifest.bottle import Limits
from claude_bottle.model.plan import Mount
from tests.ordinary_user import Person
from tests.podman_engine import Podman as Storage
from tests.podman_engine import podman_engine, podman_host, podman_user

__all__ = ["podman_engine", "podman_host", "podman_user"]

LABELS = (("claude-bottle.identity", "a-123456"), ("claude-bottle.schema", "1"))
PLAIN = Container("claude-bottle-a-123456", LABELS, "sha256:" + "0" * 64, "/r/a.d", "/r/a.cid", "/p/seccomp.json",
                  volumes=("/image-volume",))  # fmt: skip
FULL = {
    "host": {
        "cgroupControllers": ["cpu", "memory", "pids"], "cgroupVersion": "v2", "serviceIsRemote": False,
        "ociRuntime": {"name": "crun"}, "security": {"rootless": True, "seccompEnabled": True, "selinuxEnabled": False},
        "idMappings": {"uidmap": [{"container_id": 0, "host_id": 1000, "size": 1},
                                  {"container_id": 1, "host_id": 100000, "size": 65536}]},
    },
    "store": {"graphDriverName": "overlay"}, "version": {"Version": "4.9.3"},
}  # fmt: skip


def test_the_words_that_differ_from_dockers_and_no_others() -> None:
    theirs = argv.run(PLAIN)
    ours = translate(theirs, rootless=True)
    assert ours[0] == "run" and ours[-5:] == theirs[-5:]
    assert [word for word in ours if word not in theirs] == [
        "--http-proxy=false", "--systemd=false", "--pid=private", "--uts=private", "--security-opt=label=disable",
        "--image-volume=tmpfs", "--userns=keep-id",
        "--volume=claude-bottle-a-123456-home:/home/agent:nocopy", "--volume=claude-bottle-a-123456-work:/workspace:nocopy",
    ]  # fmt: skip
    gone = [word for word in theirs if word not in ours]
    assert [word.partition("=")[0] for word in gone if not word.startswith("--mount=")] == [
        "--dns", "--dns-search", "--dns-option", "--dns-option", "--add-host", "--ulimit",
    ]  # fmt: skip
    assert all(word.startswith("--mount=type=volume,") for word in gone if word.startswith("--mount="))
    assert "--userns=host" in translate(theirs, rootless=False)


def test_volumes_are_made_with_their_labels_before_the_container() -> None:
    marked = ["--label=claude-bottle.identity=a-123456", "--label=claude-bottle.schema=1"]
    assert volumes_of(argv.run(PLAIN)) == [
        ["volume", "create", *marked, "--", f"claude-bottle-a-123456-{name}"] for name in ("home", "work")
    ]
    assert volumes_of(["volume", "ls"]) == volumes_of(["ps", "--all"]) == []


@given(st.text(st.characters(blacklist_categories=["Cs", "Cc"]), min_size=1, max_size=40))
def test_a_mount_is_passed_on_as_it_is(path: str) -> None:
    theirs = argv.run(Container("n", LABELS, "image", "/r", "/c", "/s", mounts=(Mount("/" + path, "/" + path),)))
    ours = translate(theirs, rootless=False)
    assert [word for word in ours if word.startswith("--mount=")] == [
        word for word in theirs if word.startswith("--mount=") and not word.startswith("--mount=type=volume,")
    ]


def test_a_volume_in_use_is_never_removed_by_force() -> None:
    assert translate(["volume", "rm", "--force", "--", "v"], rootless=False) == ["volume", "rm", "--", "v"]


def fake(monkeypatch: pytest.MonkeyPatch, place: Path, answer: Any, code: int = 0) -> None:
    """A program called podman that says this, whatever it is asked."""
    said = shlex.quote(answer if isinstance(answer, str) else json.dumps(answer))
    program = place / "podman"
    program.write_text(f"#!/bin/sh\nprintf %s {said} {'>&2' if code else ''}\nexit {code}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(place))


def changed(**changes: Any) -> dict[str, Any]:
    return {**FULL, **{name: {**FULL[name], **value} for name, value in changes.items()}}


def test_everything_there_is_nothing_but_ok(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    fake(monkeypatch, tmp_path, FULL)
    get_bottle_backend("podman").require()
    assert {check.state for check in get_bottle_backend("podman").check()} == {"ok"}


@pytest.mark.parametrize(
    ("answer", "what", "do"),
    [
        (changed(version={"Version": "3.4.4"}), "podman is too old", "install podman 4.0 or newer"),
        (changed(host={"serviceIsRemote": True}), "run on another machine", "unset CONTAINER_HOST"),
        (changed(host={"security": {"rootless": True}}), "cannot filter system calls", "podman"),
        (changed(host={"idMappings": {"uidmap": [{"size": 1}]}}), "no user ids", "--add-subuids"),
    ],
)
def test_what_is_missing_is_one_line_with_the_fix(
    answer: dict[str, Any], what: str, do: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    fake(monkeypatch, tmp_path, answer)
    with pytest.raises(EnvironmentLacks) as lacking:
        get_bottle_backend("podman").require()
    assert what in lacking.value.what and do in lacking.value.do
    assert "\n" not in lacking.value.what + lacking.value.why + lacking.value.do
    assert [check.state for check in get_bottle_backend("podman").check()] == ["missing"]


@pytest.mark.parametrize(
    ("said", "do"),
    [
        ("Cannot connect to Podman. Please verify your connection", "unset CONTAINER_HOST"),
        ('Error: failed to resolve active destination: "x" service destination not found', "unset CONTAINER_CONNECTION"),
        ('cannot find UID/GID for user a: no subuid ranges found for user "a" in /etc/subuid', "--add-subuids"),
        ('command required for rootless mode with multiple IDs: exec: "newuidmap": not found', "apt install uidmap"),
        ("Error: docker.io/x/y: image not known", "claude-bottle image build"),
    ],
)
def test_what_it_says_becomes_one_line_with_the_fix(
    said: str, do: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    fake(monkeypatch, tmp_path, said, 125)
    with pytest.raises(EnvironmentLacks) as lacking:
        get_bottle_backend("podman").require()
    assert do in lacking.value.do and lacking.value.why in said


def test_what_is_weaker_is_told_with_its_fix(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    weak = changed(host={"cgroupControllers": [], "cgroupVersion": "v1",
                         "security": {"rootless": True, "seccompEnabled": True, "selinuxEnabled": True}},
                   store={"graphDriverName": "vfs"})  # fmt: skip
    fake(monkeypatch, tmp_path, weak)
    told = {check.name: check for check in get_bottle_backend("podman").check() if check.state == "weaker"}
    assert set(told) == {"memory limit", "process limit", "cpu limit", "cgroups", "storage", "selinux"}
    assert all(check.fix and check.detail for check in told.values())
    delegated = changed(host={"cgroupControllers": ["memory", "pids"]})
    fake(monkeypatch, tmp_path, delegated)
    told = {check.name: check for check in get_bottle_backend("podman").check() if check.state == "weaker"}
    assert set(told) == {"cpu limit"} and "Delegate=" in told["cpu limit"].fix


def test_a_limit_that_the_kernel_does_not_enforce_is_not_said_to_be() -> None:
    found = {limit.name: limit.enforced for limit in podman.limits(Limits(), frozenset({"memory"}))}
    assert found == {"memory": True, "cpus": False, "pids": False, "disk": False}


def test_an_engine_that_nobody_installed_is_no_fault(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    (absent,) = get_bottle_backend("podman").check()
    assert (absent.state, "apt install podman" in absent.fix) == ("absent", True)
    assert get_bottle_backend("podman").leftovers() == ()
    with pytest.raises(EnvironmentLacks):
        get_bottle_backend("podman").require()


def test_what_belongs_to_another_is_not_found_although_one_label_is_the_same(podman_host: Storage) -> None:
    def make(owner: str, identity: str) -> str:
        name = f"test-{owner}-{identity}"
        labels = (f"--label={owners.INSTALLATION}={owner}", f"--label={owners.IDENTITY}={identity}")
        return podman_host.podman("volume", "create", *labels, name)

    engine, ours = Podman(), make("a" * 32, "x-111111")
    others = [make("a" * 32, "y-222222"), make("b" * 32, "x-111111")]
    try:
        assert owners.find(engine, "a" * 32, "x-111111").volumes == (ours,)
        assert owners.identities(engine, "a" * 32) == ("x-111111", "y-222222")
        owners.remove(engine, owners.find(engine, "a" * 32, "x-111111"))
        assert sorted(podman_host.podman("volume", "ls", "--quiet").split()) == sorted(others)
    finally:
        podman_host.run("volume", "rm", *others)


def test_a_volume_that_a_container_uses_outlives_its_removal(podman_host: Storage) -> None:
    podman_host.podman("volume", "create", "test-used")
    image = podman_host.podman("image", "ls", "--quiet", "--no-trunc").split()[0]
    podman_host.podman("create", "--name=test-user", "--network=none", "--volume=test-used:/mnt", image, "true")
    try:
        with pytest.raises(BottleError):
            owners.remove(Podman(), owners.Objects((), ("test-used",)), patience=0)
        assert sorted(podman_host.held()) == ["test-used", "test-user"]
    finally:
        podman_host.run("rm", "--force", "test-user")
        podman_host.run("volume", "rm", "test-used")


CHECKS = (
    "a_bottle_is_up_inside_the_block_and_gone_after_it", "its_own_check_finds_that_it_can_run",
    "the_user_has_the_same_name_and_number_everywhere", "they_can_be_written_and_come_back",
    "a_conversation_can_be_fetched_while_the_bottle_runs", "there_is_no_way_out", "a_connection_inside_arrives_outside",
    "no_capability_is_left_in_any_set", "a_dead_keepers_home_is_recovered", "it_ends_with_its_keeper",
)  # fmt: skip


def test_an_ordinary_user_has_bottles_too(podman_user: tuple[Person, Storage]) -> None:
    person, storage = podman_user
    done = person.run(person.module("tests.podman_checks", *CHECKS), timeout=240)
    said = json.loads(done.stdout.splitlines()[-1]) if done.returncode == 0 else {}
    assert said, done.stderr
    assert {name: problem for name, problem in said["checks"].items() if problem} == {}
    assert set(said["checks"]) == set(CHECKS)
    # Whatever this machine gives them: what the plan says is in force is what podman may enforce, and the doctor agrees.
    for limit, told in (("memory", "memory limit"), ("cpus", "cpu limit"), ("pids", "process limit")):
        assert said["limits"][limit] == (said["doctor"][told] == "ok")
    assert said["protections"]["own user namespace"] == "on"
    assert storage.left_over() == []


def test_the_doctor_shows_it(podman_host: Storage, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
                             tmp_path: Path) -> None:  # fmt: skip
    monkeypatch.setenv("CLAUDE_BOTTLE_HOME", str(tmp_path / "root"))
    main(["doctor", "--json"])
    sections = {section["name"]: section["checks"] for section in json.loads(capsys.readouterr().out)["sections"]}
    found = {check["name"]: check["state"] for check in sections["backend podman"]}
    assert found["podman"] == "ok" and "missing" not in found.values()
    assert podman_prereqs.FLOOR == (4, 0)
