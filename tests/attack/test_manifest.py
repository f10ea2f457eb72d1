"""Attack cases on what a project brings along (threats.md §2, 126–129, 131, 132; I18): it may narrow, never widen."""

from __future__ import annotations

import copy
import json
import os
from typing import Any

import pytest

from tests.attack.operators import Operator
from tests.attack.test_state import one_error
from tests.attack.world import API, EVIL


@pytest.fixture
def cloned(reader: Operator) -> Operator:
    """The same operator in a directory that somebody else has filled."""
    made = copy.copy(reader)
    made.place = reader.person.directory("cloned")
    return made


def project(**bottle: Any) -> dict[str, Any]:
    return {"version": 1, "bottles": {"b": bottle}, "agents": {"a": {"bottle": "b", "harness": "shell"}}}


def starts(operator: Operator) -> str:
    """Why neither way to start its agent does, and that nothing was made for it. A plan is only looked at."""
    before = set(operator.listing())
    operator.do("start", "a", "--dry-run")
    for words in (("start", "a", "--yes", "--detach"), ("run", "a", "--", "/bin/true")):
        said = one_error(operator.run(*words), 3)
    assert set(operator.listing()) == before
    return said


@pytest.mark.threat(126)
def test_case_126_what_a_project_grants_itself_waits_for_consent_and_runs_nothing(cloned: Operator) -> None:
    ran = cloned.place / "ran"
    command = {"from": {"command": ["/usr/bin/touch", str(ran)]}, "env": "TOKEN", "header": "x-token"}
    for grants in (
        {"egress": [{"host": EVIL}]}, {"mounts": [{"source": str(cloned.shown), "target": "/data", "mode": "rw"}]},
        {"egress": [{"host": API, "credential": "t"}], "credentials": {"t": command}}, {"workspace": {"mode": "bind"}},
    ):  # fmt: skip
        cloned.write(project(**grants))
        assert "claude-bottle trust" in starts(cloned), grants
    assert not ran.exists()


@pytest.mark.threat(127)
def test_case_127_a_manifest_that_has_changed_is_asked_about_again(cloned: Operator) -> None:
    """By the agent it cannot be changed at all: in a live workspace it is read-only."""
    cloned.write(project(workspace={"mode": "bind"}))
    cloned.trust()
    widened = json.dumps(project(workspace={"mode": "bind"}, egress=[{"host": EVIL}]))
    with cloned.start("a") as bottle:
        for words in (["tee", "claude-bottle.json"], ["sh", "-c", "cat > new; mv -f new claude-bottle.json"]):
            assert bottle.exec(*words, input=widened).returncode != 0
        # It is looked for upwards to the root of the work tree: a nearer one is another one, without consent.
        bottle.exec("sh", "-c", "mkdir -p sub; cat > sub/claude-bottle.json", input=widened)
    assert EVIL not in (cloned.place / "claude-bottle.json").read_text()
    below = copy.copy(cloned)
    below.place = cloned.place / "sub"
    assert EVIL in starts(below)
    cloned.write(widened)
    assert EVIL in starts(cloned)


@pytest.mark.threat(128)
def test_case_128_no_manifest_trusts_itself_or_turns_a_protection_off(reader: Operator) -> None:
    off = ("trusted", "trust", "seccomp", "protections", "no_new_privileges", "privileged", "user", "gate", "verify",
           "insecure", "upstreams", "ca", "host_network", "network", "devices", "docker_socket", "security_opt")  # fmt: skip
    values: tuple[object, ...] = (True, False, "off", {})
    bottles = [{name: value} for name in off for value in values]
    assert reader.refused_bottles(bottles) == list(range(len(bottles)))
    for name in ("trusted", "trust", "upstreams", "config", "approvals"):
        text = json.dumps({**project(), name: True})
        one_error(reader.run("manifest", "check", reader.beside("self.json", text)), 1)


@pytest.mark.threat(129)
def test_case_129_no_mount_shows_what_is_the_hosts_own(reader: Operator) -> None:
    sources = [
        "~", "~/", "~/.ssh/..", "$HOME", "${HOME}/x", "relative", "../x", "/", "//", "/.", "/proc", "/proc/1/root", "/sys/fs",
        "/dev", "/dev/mem", "/run/docker.sock", "/var/run/docker.sock", "/etc/../root", "/opt/../", "/opt//x/../..", "",
        str(reader.home), str(reader.home / "state"), str(reader.home.parent), "/opt:/etc", "/opt,target=/etc",
        "/opt\0x", "/opt\n/etc", "file:///etc", "~root", "~nobody/x",
    ]  # fmt: skip
    bottles: list[Any] = [{"mounts": [{"source": one, "target": "/data"}]} for one in sources]
    targets = ["/", "/proc", "/proc/x", "/dev/x", "/sys", "/usr/bin", "/etc", "/bin/sh", "/run/bottle", "/home/agent",
               "/home", "/workspace", "/x/../etc", "x", "", "/opt,readonly=false", "//etc", "/.init", "/.init/cat",
               "/opt/claude-bottle", "/opt/claude-bottle/init.py"]  # fmt: skip
    bottles += [{"mounts": [{"source": "/opt", "target": one}]} for one in targets]
    refused = reader.refused_bottles(bottles)
    # A colon or comma is a plain character of a path: what it names is not there.
    plain = [number for number in range(len(bottles)) if number not in refused]
    assert {bottles[number]["mounts"][0]["source"] for number in plain} <= {"/opt:/etc", "/opt,target=/etc", "/opt"}
    assert {bottles[number]["mounts"][0]["target"] for number in plain} <= {"/data", "/opt,readonly=false"}


@pytest.mark.threat(129)
def test_case_129_a_mount_through_a_link_starts_nothing(cloned: Operator) -> None:
    link = cloned.place / "link"
    os.symlink("/etc", link)
    os.lchown(link, cloned.person.uid, cloned.person.gid)
    for source in (str(link), f"{link}/ssl", "/opt:/etc"):
        cloned.write(project(mounts=[{"source": source, "target": "/data"}]))
        cloned.run("trust", "--yes")
        before = set(cloned.listing())
        one_error(cloned.run("run", "a", "--", "/bin/ls", "/data"), 1, 3, 4)
        assert {row["status"] for name, row in cloned.listing().items() if name not in before} <= {"preserved"}


TRAPS = {
    "a doubled key": '{"version": 1, "bottles": {"b": {"egress": [], "egress": [{"host": "evil.test"}]}}, "agents": {}}',
    "doubled by an escape": '{"version": 1, "bottles": {"b": {"egress": [], "\\u0065gress": []}}, "agents": {}}',
    "yaml": "version: 1\nbottles: {b: {egress: []}}\nagents: {}\n",
    "an anchor bomb": "a: &a [x]\nb: &b [*a, *a, *a]\nbottles: *b\n",
    "an object tag": "!!python/object/apply:os.system ['id']\n",
    "a merge key": '{"version": 1, "bottles": {"b": {"<<": {"egress": [{"host": "evil.test"}]}}}, "agents": {}}',
    "depth": "[" * 100_000, "depth, closed": "[" * 50_000 + "]" * 50_000,
    "no is false": '{"version": 1, "bottles": {"b": {"proxy_env": "no"}}, "agents": {}}',
    "an octal port": '{"version": 1, "bottles": {"b": {"egress": [{"host": "a.test", "port": 0443}]}}, "agents": {}}',
    "a port as text": '{"version": 1, "bottles": {"b": {"egress": [{"host": "a.test", "port": "443"}]}}, "agents": {}}',
    "a port as a fraction": '{"version": 1, "bottles": {"b": {"egress": [{"host": "a.test", "port": 443.5}]}}, "agents": {}}',
    "not a number": '{"version": 1, "bottles": {"b": {"limits": {"cpus": NaN}}}, "agents": {}}',
    "endless": '{"version": 1, "bottles": {"b": {"limits": {"cpus": 1e999}}}, "agents": {}}',
    "a huge integer": '{"version": 1, "bottles": {"b": {"limits": {"pids": ' + "9" * 5000 + "}}}, \"agents\": {}}",
    "a byte order mark": '\ufeff{"version": 1, "bottles": {}, "agents": {}} x',
    "something behind": '{"version": 1} {"version": 1}',
    "another version": '{"version": 2, "bottles": {}, "agents": {}}', "version as truth": '{"version": true, "bottles": {}}',
    "a lone surrogate": '{"version": 1, "bottles": {"b": {"env": {"A": "\\ud800"}}}, "agents": {}}',
    "nothing": "", "null": "null",
}  # fmt: skip


@pytest.mark.threat(131)
def test_case_131_a_manifest_with_two_readings_is_an_error_with_its_place(reader: Operator) -> None:
    for name, text in TRAPS.items():
        done = reader.run("manifest", "check", reader.beside("trap.json", text))
        assert done.returncode == 1, (name, done.stderr)
        assert "trap.json" in done.stderr and "Traceback" not in done.stderr and "this is a bug" not in done.stderr, name


@pytest.mark.threat(132)
def test_case_132_a_misspelt_key_is_an_error_and_no_silent_default(reader: Operator) -> None:
    good = {"egress": [{"host": API, "methods": ["GET"], "paths": ["/v1/**"], "tls": "inspect"}],
            "limits": {"memory": "1g", "pids": 99}, "workspace": {"mode": "bind"}}  # fmt: skip
    assert reader.refused_bottles([good]) == []
    text = json.dumps(good)
    misspelt = [json.loads(text.replace(f'"{key}"', f'"{wrong}"')) for key in
                ("egress", "host", "methods", "paths", "tls", "limits", "memory", "pids", "workspace", "mode")
                for wrong in (key[:-1], key.upper(), key.title(), f"{key} ", f"_{key}", key.replace("e", "е"))
                if wrong != key]  # fmt: skip
    assert reader.refused_bottles(misspelt) == list(range(len(misspelt)))
