"""The preservation table of contract §2, each row with real Claude Code in a real bottle and a real terminal, everywhere.

After each ending: the transcript is complete, `resume` shows the earlier turn to the model, nothing is left running,
and a container engine holds nothing any more once the next command has run.
"""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pexpect
import pytest

from tests.e2e.conftest import BACKENDS
from tests.e2e.project import KEY, MANIFEST, Project, kill, processes, submit
from tests.waiting import eventually, hang_up

pytestmark = pytest.mark.parametrize("project", BACKENDS, indirect=True)
WORD = "remember the word tangerine"


def begin(project: Project) -> tuple[pexpect.spawn[str], str]:
    child = project.session()
    project.ask(child, WORD)
    identity = project.only()["identity"]
    # Claude writes its transcript a moment after it has drawn the answer; what is not written no kill can preserve.
    eventually(lambda: "noted" in project.run("transcript", identity).stdout)
    return child, identity


def assert_resumes(project: Project, identity: str) -> None:
    """Nothing of the identity runs; its transcript has the turn; resumed, the model is shown the earlier turn."""
    eventually(lambda: not project.living(identity))
    shown = project.run("transcript", identity)
    assert shown.returncode == 0, shown.stderr
    assert WORD in shown.stdout
    assert "noted" in shown.stdout
    child = project.session("resume", identity, "--yes")
    project.ask(child, "and now?")
    assert WORD in json.dumps(project.seen[-1].body["messages"])
    child.sendcontrol("]")
    child.expect(pexpect.EOF)
    assert project.run("stop", identity).returncode == 0
    eventually(lambda: not project.living(identity))
    assert project.objects() == []


def agent_pid(project: Project, identity: str) -> int:
    """The host pid of the Claude process in this bottle."""
    session = project.record(identity)["session_id"]
    found = processes(f"--session-id {session}")
    assert found, "its Claude does not run"
    return max(found)


def test_a_clean_exit_archives_the_conversation_and_removes_the_state(project: Project) -> None:
    child, identity = begin(project)
    submit(child, "/exit")
    child.expect(r"session ended \(exit 0\); container " + identity + " will be removed")
    child.expect(pexpect.EOF)
    assert not (project.home / "state" / identity).exists()
    assert list((project.home / "transcripts" / "claude" / identity).rglob("*.jsonl"))
    assert_resumes(project, identity)


def test_ctrl_c_twice_ends_the_session_and_loses_nothing(project: Project) -> None:
    child, identity = begin(project)
    child.send("\x03\x03")  # at once: the second must follow soon
    child.expect(r"session ended \(exit \d+\)")
    child.expect(pexpect.EOF)
    assert_resumes(project, identity)


def test_a_killed_agent_is_preserved_with_a_resume_hint(project: Project) -> None:
    child, identity = begin(project)
    kill(agent_pid(project, identity))
    child.expect(r"session ended \(exit 137\)")
    child.expect(f"to resume this bottle: claude-bottle resume {identity}")
    child.expect(pexpect.EOF)
    assert project.only()["status"] == "preserved"
    assert_resumes(project, identity)


def test_a_session_that_ends_with_3_is_preserved_and_resumes(project: Project, tmp_path: Path) -> None:
    ends_with(project, 3, tmp_path / "tools")
    child, identity = begin(project)
    submit(child, "/exit")
    child.expect(r"session ended \(exit 3\); container " + identity + " will be removed")
    child.expect(f"to resume this bottle: claude-bottle resume {identity}")
    child.expect(pexpect.EOF)
    row = project.only()
    assert (row["status"], row["preserved"], row["exit_code"]) == ("preserved", ["exit 3"], 3)
    assert (project.home / "state" / identity / "home" / ".claude.json").is_file()
    assert list((project.home / "transcripts" / "claude" / identity).rglob("*.jsonl"))
    assert_resumes(project, identity)


def ends_with(project: Project, code: int, tools: Path) -> None:
    """Install a Claude Code that ends with `code`: the real one, shown to the bottle by a mount, and a script before it.
    Claude itself cannot be made to end its session with a code of one's choice."""
    (real,) = Path(project.env["CLAUDE_BOTTLE_TOOLS"]).glob("claude/*/claude")
    program = tools / real.relative_to(project.env["CLAUDE_BOTTLE_TOOLS"])
    program.parent.mkdir(parents=True)
    program.write_text(f'#!/bin/sh\n/opt/real/claude "$@"\nexit {code}\n')
    program.chmod(0o555)
    project.env["CLAUDE_BOTTLE_TOOLS"] = str(tools)
    mount = {"source": str(real.parent), "target": "/opt/real"}
    bottles = {**MANIFEST["bottles"], "model": {**MANIFEST["bottles"]["model"], "mounts": [mount]}}
    project.write({**MANIFEST, "bottles": bottles})
    project.trust()


def test_a_headless_agent_that_ends_with_3_is_preserved(project: Project) -> None:
    done = project.run("run", "shell", "--", "sh", "-c", "echo kept > note; exit 3")
    assert done.returncode == 3, done.stderr
    row = project.only()
    assert row["status"] == "preserved"
    assert f"claude-bottle resume {row['identity']}" in done.stderr


def test_keep_preserves_what_ended_well(project: Project) -> None:
    done = project.run("run", "closed", "--keep", "--", "sh", "-c", "echo kept > ~/note")
    assert done.returncode == 0, done.stderr
    row = project.only()
    identity = row["identity"]
    assert (row["status"], row["preserved"], row["exit_code"]) == ("preserved", ["operator"], 0)
    assert f"claude-bottle resume {identity}" in done.stderr
    child = project.terminal("resume", identity, "--yes", "--keep", "--", "cat", "/home/agent/note")
    child.expect("kept")
    child.expect(r"session ended \(exit 0\)")
    child.expect(f"to resume this bottle: claude-bottle resume {identity}")
    child.expect(pexpect.EOF)
    assert project.only()["preserved"] == ["operator"]
    child = project.terminal("resume", identity, "--yes", "--", "cat", "/home/agent/note")
    child.expect(r"session ended \(exit 0\)")
    child.expect(pexpect.EOF)
    assert project.listing() == []


def test_a_killed_keeper_takes_the_agent_and_the_gate_with_it(project: Project) -> None:
    child, identity = begin(project)
    agent = agent_pid(project, identity)
    kill(project.record(identity)["keeper"]["pid"])
    child.expect(pexpect.EOF)
    eventually(lambda: not processes(f"claude_bottle.gate {identity}"))
    eventually(lambda: agent not in processes("--dangerously-skip-permissions"))
    row = project.only()
    assert row["status"] == "interrupted" or "interrupted" in json.dumps(row)
    assert_resumes(project, identity)


def test_a_killed_cli_leaves_the_agent_running_and_attachable(project: Project) -> None:
    child, identity = begin(project)
    assert child.pid is not None
    kill(child.pid)
    child.expect(pexpect.EOF)
    assert project.only()["status"] == "running"
    again = project.terminal("attach", identity)
    again.expect("bypass.{1,40}permissions")
    project.ask(again, "still there?")
    again.sendcontrol("]")
    again.expect(pexpect.EOF)
    assert project.run("stop", identity).returncode == 0
    assert_resumes(project, identity)


def test_a_closed_terminal_detaches(project: Project) -> None:
    child, identity = begin(project)
    hang_up(child)
    assert child.signalstatus in (None, signal.SIGHUP)
    assert project.only()["status"] == "running"
    assert project.run("stop", identity).returncode == 0
    assert_resumes(project, identity)


def test_the_credential_reaches_the_model_and_never_the_bottle(project: Project) -> None:
    done = project.run("run", "shell", "--", "sh", "-c", "env; cat /proc/*/environ /proc/*/cmdline; true")
    assert done.returncode == 0, done.stderr
    assert "real-key" not in done.stdout
    child, _ = begin(project)
    assert {turn.credential for turn in project.seen} == {project.env["SCRIPTED_MODEL_KEY"]}
    submit(child, "/exit")
    child.expect(pexpect.EOF)
    assert [path for path in project.home.rglob("*") if path.is_file() and KEY.encode() in path.read_bytes()] == []


def test_a_working_directory_that_the_agent_has_closed_is_open_to_the_next_launch(project: Project) -> None:
    done = project.run("run", "shell", "--", "sh", "-c", "echo kept > file; chmod 0 /workspace ~; exit 3")
    assert done.returncode == 3, done.stderr
    identity = project.only()["identity"]
    project.do("resume", identity, "--yes", "--detach", "--", "sleep", "1000")
    assert project.do("exec", identity, "--", "cat", "file") == "kept\n"
    project.do("stop", identity)
