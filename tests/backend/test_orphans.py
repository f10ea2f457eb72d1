"""What bwrap leaves when it is killed in the middle of its work, and that none of it stays."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

from claude_bottle.backend.bubblewrap import orphans
from tests.backend.keeping import keep
from tests.ordinary_user import Person
from tests.waiting import eventually

PARENT = """
import os, subprocess
child = subprocess.Popen(["sleep", "1000"])
print(child.pid, flush=True)
child.wait()
"""


def test_a_child_that_waits_for_its_parent_ends_with_it() -> None:
    made = subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE)
    assert made.stdout
    child = int(made.stdout.readline())
    pidfd = os.pidfd_open(child)
    orphans.end_with_its_child(made.pid)
    made.returncode = -signal.SIGKILL  # collected already
    made.stdout.close()
    eventually(lambda: not os.path.exists(f"/proc/{child}") or _dead(child))
    os.close(pidfd)


def _dead(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii") as stat:
            return stat.read().rpartition(")")[2].split()[0] in "ZX"
    except OSError:
        return True


def test_one_that_has_ended_already_is_only_collected() -> None:
    made = subprocess.Popen(["true"])
    os.waitid(os.P_PID, made.pid, os.WEXITED | os.WNOWAIT)
    orphans.end_with_its_child(made.pid)
    made.returncode = 0
    assert not os.path.exists(f"/proc/{made.pid}")


def test_what_died_with_its_keeper_is_found_by_the_home_on_its_stage(person: Person) -> None:
    source = """
from pathlib import Path
from claude_bottle.backend import namespaces as ns, sources, stage
from claude_bottle.backend.bubblewrap import owners
from claude_bottle.backend.bubblewrap.backend import BubblewrapBackend
def left(home):
    ready, tell = os.pipe()
    pid = os.fork()
    if pid == 0:
        if os.geteuid() == 0:
            ns.unshare(ns.CLONE_NEWNS)
        else:
            owners.enter_own_namespace(ns.CLONE_NEWNS)
        ns.mount("", "/", "", ns.MS_REC | ns.MS_PRIVATE)
        opened = sources.open_source(sources.Source(home, "home", True), None)
        stage.attach(opened, stage.make_stage(1 << 20))
        open("/proc/self/comm", "w").write("bwrap")
        os.write(tell, b"r")
        signal.pause()
    os.read(ready, 1)
    return pid
pids = [left(place + "/home"), left(place + "/workspace")]
BubblewrapBackend().recover("x-abc123", Path(place + "/home"), Path(place + "/workspace"))
ended = os.waitstatus_to_exitcode(os.waitpid(pids[0], 0)[1])
other = os.waitpid(pids[1], os.WNOHANG)[0]
os.kill(pids[1], signal.SIGKILL)
show([ended, other])
"""
    assert keep(person, source) == [-9, 0]
