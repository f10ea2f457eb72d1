"""What becomes of the operator's own terminal."""

from __future__ import annotations

import os
import shlex
import signal

import pexpect
import pytest

from tests.e2e.project import CLI, MANIFEST, Project, kill, processes
from tests.waiting import SECONDS, eventually, hang_up


def type_line(shell: pexpect.spawn[str], *words: str) -> None:
    """A line that a shell takes even from a raw terminal; it says when it is done."""
    shell.send(shlex.join(words) + "; echo do$((1-1))ne\n")


@pytest.mark.parametrize("verb", ["run", "start", "attach"])
def test_the_next_command_mends_a_terminal_that_a_killed_one_left_raw(project: Project, verb: str) -> None:
    done = project.run("start", "closed", "--yes", "--detach", "--", "sh", "-c", "stty -echo; echo here we are; sleep 600")
    identity = done.stdout.splitlines()[-1]
    shell = pexpect.spawn("sh", cwd=str(project.place), env=project.env, encoding="utf-8", timeout=SECONDS)
    type_line(shell, *CLI, "attach", identity)
    shell.expect("here we are")
    eventually(lambda: processes(f"claude_bottle attach {identity}"))
    for pid in processes(f"claude_bottle attach {identity}"):
        kill(pid)
    type_line(shell, "stty", "-a")
    shell.expect("-icanon")
    shell.expect("-echo ")
    shell.expect("do0ne")
    rest = {"run": ["closed", "--", "true"], "start": ["nobody"], "attach": ["nobody-abcdef"]}[verb]
    type_line(shell, *CLI, verb, *rest)
    shell.expect("do0ne")
    type_line(shell, "stty", "-a")
    shell.expect(r"isig icanon")
    shell.expect(r" echo ")
    hang_up(shell)
    assert project.run("stop", identity, "--timeout", "0").returncode == 0


@pytest.mark.parametrize("how", ["ctrl-c", "ctrl-d", "no", "terminate", "hang up", "kill"])
def test_leaving_at_the_question_leaves_nothing(project: Project, how: str) -> None:
    before = project.files()
    child = project.terminal("start", "closed")
    child.expect(r"launch this agent\? \[y/N\] ")
    assert child.pid is not None
    if how == "ctrl-c":
        child.sendcontrol("c")
        child.expect("claude-bottle: interrupted")
    elif how in ("ctrl-d", "no"):
        child.send("\x04" if how == "ctrl-d" else "nonsense\r")
        child.expect("claude-bottle: aborted by user")
    elif how == "hang up":
        hang_up(child)
    else:
        os.kill(child.pid, signal.SIGTERM if how == "terminate" else signal.SIGKILL)
    eventually(lambda: not child.isalive())
    expected = {"ctrl-c": 130, "ctrl-d": 0, "no": 0, "terminate": 143, "hang up": 129, "kill": None}[how]
    assert child.exitstatus == expected
    if how == "kill":
        for place in project.tmp.iterdir():
            os.utime(place, (0, 0))  # what is new might be somebody's who has just begun
        assert project.run("cleanup", "--all", "--yes").returncode == 0
        before.append(str(project.home / "installation"))
    assert [path for path in project.files() if path not in before] == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_launch_that_is_interrupted_is_taken_back(project: Project, number: signal.Signals) -> None:
    """While the keeper boots: the plan is printed, the session is not attached yet."""
    agent = f"hasty{os.getpid()}"  # bottles of other workers are not ours to find
    project.write({**MANIFEST, "agents": {agent: MANIFEST["agents"]["closed"]}})
    project.trust()
    child = project.terminal("start", agent, "--yes", "--", "sleep", "600")
    child.expect("host's kernel")
    assert child.pid is not None
    os.kill(child.pid, number)
    child.expect(pexpect.EOF)
    eventually(lambda: not child.isalive())
    if "attaching" not in str(child.before):
        assert child.exitstatus == 128 + number
        eventually(lambda: project.listing() == [])
    for row in project.listing():
        assert project.run("stop", row["identity"], "--timeout", "0").returncode == 0
    eventually(lambda: not processes(agent))
    assert list(project.tmp.iterdir()) == []
