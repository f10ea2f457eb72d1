"""Container bottles whose gate runs in a container too, as where the engine is on another machine: the whole product.

The daemon is this machine's, but nothing here uses that: no directory, descriptor or process of the host's is shared with
the containers, and what the gate is told goes over its stdin.
"""

from __future__ import annotations

import json
from typing import Any

import pexpect
import pytest

from tests.e2e.conftest import APART
from tests.e2e.project import KEY, MANIFEST, Project, command_lines, kill, processes, submit
from tests.e2e.test_preservation import WORD, assert_resumes, begin
from tests.waiting import SECONDS, eventually, whole_lines

pytestmark = pytest.mark.parametrize("project", [APART], indirect=True)
ASK = """curl --silent --show-error --max-time 60 https://{host}/v1/messages -H "x-api-key: $ANTHROPIC_API_KEY" \\
    -H 'content-type: application/json' -H 'anthropic-version: 2023-06-01' \\
    -d '{{"model": "m", "max_tokens": 9, "messages": [{{"role": "user", "content": "whoever"}}]}}'"""


def detached(project: Project, *command: str) -> str:
    return project.do("start", "shell", "--yes", "--detach", "--", *(command or ("sleep", "infinity"))).split()[-1]


def events(project: Project, identity: str) -> list[dict[str, Any]]:
    return whole_lines(project.home / "state" / identity / "journal.jsonl")


def docker(project: Project, *words: str, check: bool = True) -> str:
    assert project.containers
    return project.containers.engine.docker(*words, check=check)


def names(identity: str) -> tuple[str, str]:
    return f"claude-bottle-{identity}", f"claude-bottle-{identity}-gate"


def gate_of(plan: dict[str, Any]) -> str:
    (found,) = (layer["why"] for layer in plan["protections"] if layer["name"] == "gate")
    return str(found)


def test_the_plan_says_where_the_gate_runs_and_auto_takes_this_host(project: Project) -> None:
    plan = json.loads(project.do("start", "shell", "--dry-run", "--format", "json"))
    assert "in a container" in gate_of(plan)
    assert [built["kind"] for built in plan["image_build"]][-2:] == ["python", "gate"]
    assert not [layer for layer in plan["protections"] if layer["name"].startswith("gate: ")]  # of another kernel
    for where in ("auto", "host"):
        project.place_gate(where)
        plan = json.loads(project.do("start", "shell", "--dry-run", "--format", "json"))
        assert gate_of(plan) == "on this host"
        assert "gate" not in [built["kind"] for built in plan["image_build"]]


def test_an_engine_of_another_machine_gets_its_gate_there_by_itself(project: Project) -> None:
    project.place_gate("auto")
    project.env["DOCKER_HOST"] = "tcp://127.0.0.1:9"
    plan = json.loads(project.do("start", "shell", "--dry-run", "--format", "json", "--backend", "docker"))
    assert "in a container" in gate_of(plan)


def test_a_granted_host_is_reached_with_the_credential_and_no_other_host_is(project: Project) -> None:
    script = f"{ASK.format(host='model.bottle.test')}; echo; env; {ASK.format(host='elsewhere.test')}; echo $?"
    done = project.run("run", "shell", "--", "sh", "-c", script)
    assert "Hello whoever" in done.stdout, (done.stdout, done.stderr)
    assert KEY not in done.stdout + done.stderr
    assert "Could not resolve host: elsewhere.test" in done.stderr
    assert done.stdout.endswith("6\n")
    assert project.seen[-1].header("x-api-key") == KEY  # and it came from the gate
    assert project.objects() == []


def test_what_is_held_is_counted_again_after_a_resume(project: Project) -> None:
    project.write({**MANIFEST, "bottles": {**MANIFEST["bottles"], "closed": {"limits": {"disk": "16m"}}}})
    project.trust()
    plan = json.loads(project.do("start", "closed", "--dry-run", "--format", "json"))
    assert {"name": "disk", "value": "16m", "enforced": True, "by": "the keeper"} in plan["limits"]
    write = "head -c 10000000 /dev/urandom > ~/{0}; echo > /workspace/{0}; exec sleep infinity"
    words = ("--yes", "--detach", "--", "sh", "-c")
    identity = project.do("start", "closed", *words, write.format("one")).split()[-1]
    project.do("exec", identity, "--", "sh", "-c", "until test -e /workspace/one; do sleep 0.1; done")
    project.do("stop", identity, "--keep")
    assert "its disk was full (disk 16m)" not in project.record(identity)["preserved"]
    project.do("resume", identity, *words, write.format("two"))
    eventually(lambda: not project.living(identity))
    assert "its disk was full (disk 16m)" in project.record(identity)["preserved"]
    sizes = [(project.home / "state" / identity / "home" / name).stat().st_size for name in ("one", "two")]
    assert sizes[0] == 10_000_000
    assert 5_000_000 < sizes[1] <= 10_000_000  # it is stopped while it writes, if somebody looks just then


def test_decisions_of_the_gate_are_in_the_journal(project: Project) -> None:
    identity = detached(project)
    script = ASK.format(host="model.bottle.test") + "; curl --silent -d '' https://model.bottle.test/v2/other; true"
    project.do("exec", identity, "--", "sh", "-c", f"export ANTHROPIC_API_KEY=x; {script}")

    def made() -> list[tuple[str, bool, str]]:
        decided = [one["data"] for one in events(project, identity) if one["kind"] == "decision"]
        return [(one["path"], one["allow"], one["reason"]) for one in decided]

    eventually(lambda: len(made()) >= 2 and ("/v2/other", False, "path_not_granted") in made())
    project.do("stop", identity)
    assert events(project, identity)[-1]["kind"] in ("preserved", "settled")


@pytest.mark.threat(56, 63)
def test_the_secret_is_nowhere_but_in_the_gates_memory(project: Project) -> None:
    identity = detached(project)
    bottle, gate = names(identity)
    said = [docker(project, "inspect", name) for name in (bottle, gate)]
    said += [docker(project, "logs", name, check=False) for name in (bottle, gate)]
    images = {json.loads(text)[0]["Image"] for text in said[:2]}
    said += [docker(project, kind, image) for image in images for kind in ("inspect", "history")]
    said += [docker(project, "volume", "inspect", f"{bottle}-{kind}") for kind in ("home", "work", "gate")]
    said += [docker(project, "diff", name) for name in (bottle, gate)]
    said += [docker(project, "exec", "--user=0", name, "sh", "-c", "cat /proc/[0-9]*/environ /proc/[0-9]*/cmdline; env")
             for name in (bottle, gate)]  # fmt: skip
    said += [docker(project, "exec", gate, "sh", "-c", "cat /run/bottle/* /tmp/* /dev/shm/* 2>&1; ls -la /run/bottle")]
    said += command_lines(identity)
    assert not [text for text in said if KEY in text]
    assert processes(f"{gate} ")  # there was something to look at
    project.do("stop", identity)


def test_the_gates_container_has_no_right_but_to_connect(project: Project) -> None:
    identity = detached(project)
    _, gate = names(identity)
    made = json.loads(docker(project, "inspect", gate))[0]
    host, config = made["HostConfig"], made["Config"]
    assert (host["CapDrop"], host["CapAdd"], host["Privileged"], host["ReadonlyRootfs"]) == (["ALL"], None, False, True)
    assert any(option.startswith("no-new-privileges") for option in host["SecurityOpt"])
    assert any(option.startswith("seccomp={") for option in host["SecurityOpt"])
    assert config["User"] not in ("", "0", "root")
    assert (host["PortBindings"] or {}, config.get("ExposedPorts") or {}) == ({}, {})
    assert host["Memory"] > 0 and host["PidsLimit"] > 0
    assert host["Binds"] is None and [mount["Type"] for mount in made["Mounts"]] == ["volume"]
    assert config["Labels"]["claude-bottle.identity"] == identity
    for process in ("1", "[0-9]*"):
        status = docker(project, "exec", gate, "sh", "-c", f"cat /proc/{process}/status")
        assert {line.split()[1] for line in status.splitlines() if line.startswith("Cap")} == {"0" * 16}
    assert docker(project, "exec", gate, "ls", "-A", "/run/bottle") == ""  # the way in is gone
    project.do("stop", identity)


def test_the_bottle_has_nothing_of_this_host_in_its_table_of_mounts(project: Project) -> None:
    done = project.run("run", "shell", "--", "cat", "/proc/self/mountinfo")
    assert done.returncode == 0, done.stderr
    assert str(project.place.parent) not in done.stdout
    assert "claude-bottle-" not in done.stdout.replace("/volumes/claude-bottle-", "")


@pytest.mark.parametrize("end", ["the container", "its client"])
def test_a_bottle_whose_gate_is_killed_is_offline_and_says_so(project: Project, end: str) -> None:
    identity = detached(project)
    bottle, gate = names(identity)
    if end == "the container":
        docker(project, "rm", "--force", gate)
    else:
        (client,) = processes(f"--name={gate} ")
        kill(client)
    eventually(lambda: [one for one in events(project, identity) if one["data"].get("what") == "the gate has ended"])
    eventually(lambda: gate not in docker(project, "ps", "--format={{.Names}}").split())
    done = project.run("exec", identity, "--", "sh", "-c", ASK.format(host="127.0.0.1"))
    assert "curl: (7)" in done.stderr, (done.stdout, done.stderr)  # refused
    assert project.only()["status"] == "running"
    assert bottle in docker(project, "ps", "--format={{.Names}}").split()
    project.do("stop", identity)
    assert project.objects() == []


def test_both_containers_end_with_their_keeper_and_nothing_is_lost(project: Project) -> None:
    identity = detached(project)
    project.do("exec", identity, "--", "sh", "-c", "echo kept > ~/note; echo too > /workspace/work")
    kill(project.record(identity)["keeper"]["pid"])
    eventually(lambda: not docker(project, "ps", "--quiet", f"--filter=name={identity}"))
    assert project.only()["status"] in ("interrupted", "preserved")
    again = project.run("resume", identity, "--yes", "--detach", "--", "sleep", "infinity")
    assert again.returncode == 0, again.stderr
    assert project.do("exec", identity, "--", "sh", "-c", "cat ~/note /workspace/work") == "kept\ntoo\n"
    project.do("stop", identity)
    project.run("cleanup", "--all", "--yes")
    assert project.objects() == []


@pytest.mark.parametrize("end", ["the container", "its client"])
def test_a_bottle_that_is_killed_ends_its_session(project: Project, end: str) -> None:
    identity = detached(project)
    if end == "the container":
        docker(project, "kill", names(identity)[0])
    else:
        (client,) = processes(f"--name={names(identity)[0]} ")
        kill(client)
    eventually(lambda: project.only()["status"] == "preserved")
    assert project.objects() == []


def test_claude_talks_to_its_model_and_the_conversation_is_archived(project: Project) -> None:
    child, identity = begin(project)
    eventually(lambda: WORD in project.run("transcript", identity).stdout)
    submit(child, "/exit")
    child.expect(r"session ended \(exit 0\); container " + identity + " will be removed")
    child.expect(pexpect.EOF)
    assert not (project.home / "state" / identity).exists()
    assert_resumes(project, identity)


def test_a_killed_session_goes_on_here_and_elsewhere(project: Project) -> None:
    child, identity = begin(project)
    kill(project.record(identity)["keeper"]["pid"])
    child.expect(pexpect.EOF)
    eventually(lambda: not docker(project, "ps", "--quiet", f"--filter=name={identity}"))
    assert_resumes(project, identity)
    project.place_gate("host")
    project.configure({"model.bottle.test:443": f"127.0.0.1:{project.model.port}"})
    project.place_gate("host")
    assert_resumes(project, identity)


def test_a_terminal_is_one_to_the_last_byte(project: Project) -> None:
    identity = detached(project)
    child = project.terminal("exec", identity, "--", "sh", "-c", "stty size; read a; stty size; read b; exit 7")
    child.expect("30 100")
    child.setwinsize(41, 123)
    child.send("\n")
    child.expect("41 123")
    child.send("\n")
    child.expect(pexpect.EOF, timeout=SECONDS)
    child.wait()
    assert child.exitstatus == 7
    project.do("stop", identity)


def test_input_and_output_of_any_size_go_through(project: Project) -> None:
    data = "0123456789abcdef" * (1 << 18)
    done = project.run("run", "shell", "--", "sh", "-c", "cat; echo end >&2", input=data)
    assert done.returncode == 0, done.stderr
    assert done.stdout == data
    assert "end" in done.stderr


def test_a_running_bottles_work_is_shown_and_taken_as_the_engine_streams_it(project: Project) -> None:
    (project.place / "a").write_text("a\n")
    identity = project.do("start", "shell", "--cwd", "--yes", "--detach", "--", "sleep", "infinity").split()[-1]
    project.do("exec", identity, "--", "sh", "-c", "echo b > a; mkdir d; ln -s /etc/passwd d/link; chmod 0 a")
    found = json.loads(project.do("diff", identity, "--json"))
    assert [change["path"] for change in found["changes"]] == ["a", "d", "d/link"]
    assert project.run("apply", identity, "--include", "a").returncode == 0
    assert (project.place / "a").read_text() == "b\n"
    assert project.do("exec", identity, "--", "stat", "-c", "%a", "a") == "0\n"  # nothing of it was touched
    # What cannot be read must not look as if the agent had removed it.
    deep = "import os\nfor _ in range(140): os.mkdir('d'); os.chdir('d')"
    project.do("exec", identity, "--", "python3", "-c", f"import os; os.mkdir('deep'); os.chdir('deep')\n{deep}")
    refused = project.run("apply", identity)
    assert refused.returncode == 1
    assert "not all of the work" in refused.stderr
    assert (project.place / "a").read_text() == "b\n"
    project.do("stop", identity)
