"""The end: everything inside ends, nothing is left anywhere, and all of it may be asked for again."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable

from claude_bottle.backend.base import Bottle
from claude_bottle.testing.conformance.place import SECONDS, Place, ended, eventually, readable, ready, run, shell, start
from claude_bottle.testing.conformance.registry import group

# What lets something run on that only a sandbox ends is for sandboxes only.
ending, runaway = group("ending", harmless=True), group("ending")


def alive(pid: int) -> bool:
    """Whether a process of this host still runs (a dead one that nobody has collected does not)."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] not in ("Z", "X")
    except OSError:
        return False


@ending
def closing_ends_every_program(place: Place) -> None:
    with place.up() as bottle:
        processes = [ready(bottle, "trap '' TERM HUP INT; echo ready; while :; do sleep 1; done") for _ in range(3)]
        bottle.close()
        for process in processes:
            assert ended(process) >= 128
            assert not alive(process.pid)


@runaway
def what_went_into_the_background_ends_too(place: Place) -> None:
    with place.up() as bottle:
        shell(bottle, "setsid sh -c 'trap \"\" TERM HUP; while :; do sleep 0.1; done' >/dev/null 2>&1 < /dev/null &")
        marker = start(bottle, ["sleep", "1000"])
        bottle.close()
        eventually(lambda: not alive(marker.pid))


@ending
def closing_again_is_fine(place: Place) -> None:
    with place.up() as bottle:
        bottle.close()
        bottle.close()
        bottle.release()
        bottle.release()


@ending
def terminating_lets_programs_say_goodbye(place: Place) -> None:
    with place.up() as bottle:
        process = ready(bottle, "trap 'echo goodbye > ~/farewell; exit 0' TERM; echo ready; while :; do sleep 0.05; done")
        bottle.terminate(SECONDS)
        assert ended(process) == 0
        bottle.fetch_home()
    assert (place.home / "farewell").read_text() == "goodbye\n"


@ending
def terminating_ends_what_does_not_listen(place: Place) -> None:
    with place.up() as bottle:
        process = ready(bottle, "trap '' TERM HUP; echo ready; while :; do sleep 0.1; done")
        bottle.terminate(0.5)
        assert ended(process) == 137
        assert not bottle.alive()


@ending
def nothing_of_it_is_left_in_its_place(place: Place) -> None:
    with place.up() as bottle:
        assert run(bottle, ["true"]).code == 0
    assert place.identity not in place.backend.leftovers()
    place.backend.remove(place.identity)


@ending
def no_descriptor_is_left(place: Place) -> None:
    with place.up() as bottle:
        run(bottle, ["true"])
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        with place.up() as bottle:
            run(bottle, ["true"])
    # Others' of this process may be closed meanwhile, those of a thread a moment later.
    eventually(lambda: len(os.listdir("/proc/self/fd")) <= before)


def killed_keeper(place: Place, work: Callable[[Bottle], int]) -> int:
    """Launch in a process of its own, as a keeper does, let `work` do something in the bottle, and kill that process;
    what `work` returned."""
    end, other = os.pipe()
    plan = place.plan()
    keeper = os.fork()
    if keeper == 0:
        try:
            with place.backend.launch(plan, boot=place.boot()) as bottle:
                os.write(other, f"{work(bottle)}\n".encode())
                signal.pause()
        finally:
            os._exit(1)
    os.close(other)
    try:
        readable(end)
        return int(os.read(end, 100))
    finally:
        os.close(end)
        os.kill(keeper, signal.SIGKILL)
        os.waitpid(keeper, 0)


@ending
def it_ends_with_its_keeper(place: Place) -> None:
    pid = killed_keeper(place, lambda bottle: start(bottle, ["sleep", "1000"]).pid)
    eventually(lambda: not alive(pid))
    place.backend.recover(place.identity, place.home, place.workspace)
    assert place.identity not in place.backend.leftovers()


@ending
def a_dead_keepers_home_is_recovered(place: Place) -> None:
    killed_keeper(place, lambda bottle: shell(bottle, "echo saved > ~/work; echo too > /workspace/work").code)
    place.backend.recover(place.identity, place.home, place.workspace)
    assert (place.home / "work").read_text() == "saved\n"
    assert (place.workspace / "work").read_text() == "too\n"
    with place.up() as bottle:
        assert shell(bottle, "cat ~/work").out == "saved\n"


@ending
def removing_what_is_not_there_is_fine(place: Place) -> None:
    place.backend.remove(place.identity)
    place.backend.recover(place.identity, place.home, place.workspace)
