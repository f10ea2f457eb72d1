"""A sandbox's lifetime: it starts whole or not at all, and nothing of it outlives its keeper."""

from __future__ import annotations

import os
import signal

import pytest

from tests.backend.keeping import PRELUDE, keep, place_of
from tests.ordinary_user import Person
from tests.waiting import SECONDS, ended


def test_leaving_the_block_leaves_no_process_no_mount_and_no_descriptor(person: Person) -> None:
    source = """
from claude_bottle.backend.stage import STAGE
def mounts():  # the host's others come and go
    return [line for line in open("/proc/self/mounts") if line.split()[1] == STAGE or line.split()[1].startswith(place)]
before = descriptors(), mounts()
with launch() as bottle:
    sandbox = bottle._sandbox
    process = start(bottle, "sleep", "1000")
    pids = [sandbox.first, sandbox.holder, process.pid]
after = descriptors(), mounts()
try:
    os.waitpid(-1, os.WNOHANG)
    children = True
except ChildProcessError:
    children = False
show([before[0] == after[0], before[1] == after[1], children, [os.path.exists(f"/proc/{p}") for p in pids]])
"""
    assert keep(person, source) == [True, True, False, [False, False, False]]


def test_closing_again_and_closing_a_dead_bottle_is_fine(person: Person) -> None:
    source = """
with launch() as bottle:
    os.kill(bottle._sandbox.holder, signal.SIGKILL)
    select.select([bottle], [], [], 90)
    alive = bottle.alive()
    bottle.close()
    bottle.close()
try:
    start(bottle, "true")
except BottleError as error:
    show([alive, error.what])
"""
    assert keep(person, source) == [False, "cannot enter the bottle"]


def test_entering_a_bottle_that_has_died_is_an_error(person: Person) -> None:
    source = """
with launch() as bottle:
    os.kill(bottle._sandbox.first, signal.SIGKILL)
    select.select([bottle], [], [], 90)
    try:
        start(bottle, "true")
    except BottleError as error:
        show(error.what)
"""
    assert "sandbox" in keep(person, source) or "bottle" in keep(person, source)


@pytest.mark.parametrize("end", ["lifeline", "holder"])
def test_the_first_process_ends_when_its_pipe_or_bwrap_does(person: Person, end: str) -> None:
    what = "os.close(bottle._sandbox.lifeline)" if end == "lifeline" else "os.kill(bottle._sandbox.holder, 9)"
    source = f"""
with launch() as bottle:
    {what}
    ended = bool(select.select([bottle], [], [], {SECONDS})[0])
    if {end == "lifeline"}:
        bottle._sandbox.lifeline = os.open("/dev/null", os.O_RDONLY)
    show(ended)
"""
    assert keep(person, source) is True


def test_killing_the_keeper_kills_everything(person: Person) -> None:
    source = """
with launch() as bottle:
    process = start(bottle, "sh", "-c", "trap '' TERM HUP INT; setsid sleep 1000 & exec sleep 1000")
    show([bottle._sandbox.first, bottle._sandbox.holder, process.pid])
    time.sleep(1000)
"""
    keeper = person.popen([person.python, "-c", PRELUDE + source, str(place_of(person))])
    try:
        assert keeper.stdout is not None
        pids = [int(word) for word in keeper.stdout.readline().strip("[]\n").split(",")]
    finally:
        os.kill(keeper.pid, signal.SIGKILL)
        keeper.wait()
    # The programs inside hold the keeper's stdout: it is not read to its end before they are known to be gone.
    gone = [ended(pid) for pid in pids]
    keeper.communicate()
    assert gone == [True] * 3


def test_orphans_are_reaped_inside(person: Person) -> None:
    inside = f"""
import os, signal
for _ in range(10):
    if os.fork() == 0:
        os.fork()
        os._exit(0)
    os.wait()
signal.alarm({SECONDS:.0f})
while len([name for name in os.listdir("/proc") if name.isdigit()]) > 2:
    pass
"""
    source = f"with launch() as bottle: show(start(bottle, '/usr/bin/python3', '-c', {inside!r}).wait())"
    assert keep(person, source) == 0


@pytest.mark.parametrize("missing", ["home", "workspace"])
def test_a_launch_that_fails_says_why_and_leaves_nothing(person: Person, missing: str) -> None:
    source = f"""
os.rmdir(place + "/{missing}")
before = descriptors()
try:
    with launch():
        pass
except BottleError as error:
    try:
        os.waitpid(-1, os.WNOHANG)
        children = True
    except ChildProcessError:
        children = False
    show([error.what, error.why, before == descriptors(), children])
"""
    place = place_of(person)
    expected = [f"cannot open {place}/{missing}", "No such file or directory", True, False]
    assert keep(person, source, place) == expected


@pytest.mark.parametrize("answer", ["b'x'", "None", "dead"])
def test_a_gate_that_refuses_or_dies_stops_the_launch(person: Person, answer: str) -> None:
    """Also when it dies without having read what it was sent."""
    source = f"""
import threading
ours, theirs = socket.socketpair()
def gate():
    if {answer == "dead"}:
        ours.recv(1, socket.MSG_PEEK)
    else:
        socket.recv_fds(ours, 65536, 64)
        ours.sendall({"b''" if answer in ("None", "dead") else answer})
    ours.close()
threading.Thread(target=gate).start()
class Holder:
    pass
holder = Holder()
holder.theirs = theirs
try:
    with launch(holder):
        show("up")
except BottleError as error:
    show(error.what)
"""
    assert keep(person, source) == "the gate refused the bottle's listeners"


@pytest.mark.parametrize("keeper", ["quick", "slow"])
def test_what_bwrap_says_is_in_the_error(person: Person, keeper: str) -> None:
    """Also when it has said it and ended before we turn to it."""
    source = f"""
from claude_bottle.backend import childhood
read_all = childhood.read_all
def once_it_has_ended(descriptor):
    said = read_all(descriptor)
    os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOWAIT)
    return said
if {keeper == "slow"}:
    childhood.read_all = once_it_has_ended
try:
    with launch(mounts=[[place + "/home", "/proc/1/nowhere", "ro"]]):
        show("up")
except BottleError as error:
    show([error.exit_code, error.what, error.why])
"""
    code, what, why = keep(person, source)
    assert (code, what) == (4, "bubblewrap could not build the sandbox")
    assert why.startswith("bwrap: ")


def test_a_layer_that_is_not_in_force_stops_the_launch(person: Person) -> None:
    """The kernel is asked, not our own arguments: here the filter is left out of what bwrap is told."""
    source = """
from claude_bottle.backend.bubblewrap import launcher
options = launcher._options
def without_filter(boot, recipe):
    made = options(boot, recipe)
    at = made.index("--seccomp")
    return made[:at] + made[at + 2:]
launcher._options = without_filter
try:
    with launch():
        show("up")
except BottleError as error:
    show([error.exit_code, error.why])
"""
    assert keep(person, source) == [4, "first process: Seccomp"]


@pytest.mark.parametrize("bwrap", ["system", "wheel"])
def test_both_bwraps_start_a_bottle(person: Person, bwrap: str) -> None:
    assert keep(person, f"with launch(bwrap={bwrap!r}) as b: show(output(b, 'echo', 'hi'))") == [0, "hi\n"]
