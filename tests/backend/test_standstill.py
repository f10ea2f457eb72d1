"""Having a bottle's programs stand still while its files are copied."""

from __future__ import annotations

import os
import subprocess

from claude_bottle.backend import standstill
from tests.backend.keeping import keep
from tests.ordinary_user import Person
from tests.waiting import eventually

PROGRAMS = """
from claude_bottle.backend import standstill
from tests.waiting import eventually
standstill._SECONDS = 1e9  # nothing here waits for a disk, and this machine may be busy
def states(bottle, process):
    below = standstill._generations(bottle._sandbox.first, [process.pid])
    return [standstill._state(pid) for generation in below for pid in generation]
def busy(bottle):
    end, other = os.pipe()
    spin = "while :; do :; done"
    process = start(bottle, "/bin/sh", "-c", f"setsid sh -c '({spin}) & ({spin}) &'; ({spin}) & sh -c '{spin}' & "
                    "sh -c 'kill -STOP $$' & echo up; wait", out=other)
    assert os.read(end, 2) == b"up"
    eventually(lambda: states(bottle, process).count("T") == 1 and len(states(bottle, process)) >= 6)
    return process
"""


def test_every_program_stands_still_and_goes_on_but_for_one_that_stood_still_itself(person: Person) -> None:
    source = PROGRAMS + """
with launch() as bottle:
    process = busy(bottle)
    with bottle.standing_still():
        still = states(bottle, process)
    eventually(lambda: states(bottle, process).count("T") == 1)
    show({"still": still, "runs": process.poll() is None})
"""
    found = keep(person, source)
    assert set(found["still"]) == {"T"}
    assert found["runs"]


def test_they_go_on_when_the_copying_fails_and_no_descriptor_is_left(person: Person) -> None:
    source = PROGRAMS + """
with launch() as bottle:
    process = busy(bottle)
    before = descriptors()
    try:
        with bottle.standing_still():
            raise OSError("disk full")
    except OSError:
        pass
    eventually(lambda: states(bottle, process).count("T") == 1)
    show(descriptors() == before)
"""
    assert keep(person, source) is True


def test_a_shell_with_jobs_does_not_take_its_job_for_stopped(person: Person) -> None:
    source = PROGRAMS + """
with launch() as bottle:
    end, other = os.pipe()
    process = start(bottle, "/bin/bash", "-c", "exec 2>&1; set -m; sleep 1000 & echo up; wait; echo told", out=other)
    assert os.read(end, 2) == b"up"
    eventually(lambda: len(states(bottle, process)) == 2)
    for _ in range(20):
        with bottle.standing_still():
            pass
    eventually(lambda: "T" not in states(bottle, process))
    os.set_blocking(end, False)
    try:
        said = os.read(end, 100).decode().strip()
    except BlockingIOError:
        said = ""
    show([said, process.poll()])
"""
    assert keep(person, source) == ["", None]


def test_nobody_is_stopped_before_its_parent_stands_still(person: Person) -> None:
    """A parent that is slow to stop would be told that its child did, and a shell says so."""
    source = PROGRAMS + """
import threading
def slow(pidfd, number):
    pid = int(open(f"/proc/self/fdinfo/{pidfd}").read().partition("Pid:")[2].split()[0])
    if number == signal.SIGSTOP and pid == process.pid:
        threading.Timer(0.3, send, (pidfd, number)).start()
        return
    if number == signal.SIGSTOP:
        found.append(standstill._state(process.pid))
    send(pidfd, number)
send, found = signal.pidfd_send_signal, []
with launch() as bottle:
    process = start(bottle, "/bin/sh", "-c", "sleep 1000 & sleep 1000 & wait")
    eventually(lambda: len(states(bottle, process)) == 3)
    signal.pidfd_send_signal = slow
    with bottle.standing_still():
        pass
    signal.pidfd_send_signal = send
    show(found)
"""
    assert keep(person, source) == ["T", "T"]


LENDS = """
import ctypes
libc, stack = ctypes.CDLL(None), ctypes.create_string_buffer(1 << 16)
top = ctypes.c_void_p(ctypes.addressof(stack) + (1 << 16))
CLONE_VM, CLONE_VFORK, SIGCHLD = 0x100, 0x4000, 17
print("up", flush=True)
libc.clone(libc.pause, top, CLONE_VM | CLONE_VFORK | SIGCHLD, None)
"""


def test_one_that_waits_for_a_child_with_its_memory_is_not_waited_for(person: Person) -> None:
    """It is in the state of one that waits for a disk for as long as the child stands still."""
    source = PROGRAMS + f"""
with launch() as bottle:
    end, other = os.pipe()
    process = start(bottle, "/usr/bin/python3", "-c", {LENDS!r}, out=other)
    assert os.read(end, 2) == b"up"
    eventually(lambda: len(states(bottle, process)) == 2 and "D" in states(bottle, process))
    with bottle.standing_still():
        show(states(bottle, process))
"""
    assert sorted(keep(person, source)) == ["D", "T"]


def test_a_process_that_is_no_child_of_the_bottles_is_left_alone() -> None:
    """Between the list and the signal a number may have become another process's."""
    process = subprocess.Popen(["sleep", "1000"])
    held: dict[int, int] = {}
    try:
        standstill._hold(process.pid, os.getppid(), held)
        assert held == {}
        standstill._hold(process.pid, os.getpid(), held)
        eventually(lambda: standstill._state(process.pid) == "T")
    finally:
        process.kill()
        process.wait()
        for pidfd in held.values():
            os.close(pidfd)
