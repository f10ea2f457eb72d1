"""Where the host has no process or descriptor left, the keeper hears of it and lives on."""

from __future__ import annotations

import pytest

from tests.backend.keeping import keep
from tests.ordinary_user import Person

SHORT = """
import resource
def short(bottle, work):
    before = descriptors()
    try:
        work()
    except BottleError as error:
        return [error.what, error.why, descriptors() == before]
    return "worked"
"""


@pytest.mark.parametrize("room", range(6))
def test_without_descriptors_nothing_starts_and_none_is_lost(person: Person, room: int) -> None:
    """With `room` descriptors left, whatever step is the first to have none."""
    source = SHORT + f"""
with launch() as bottle, open("/dev/null") as null:
    def fill(room):
        used = []
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (80, hard))
        try:
            while True: used.append(os.dup(null.fileno()))
        except OSError: pass
        for _ in range(room): os.close(used.pop())
        return used, (soft, hard)
    found = []
    works = {{
        "spawn": lambda: bottle.spawn(["true"], env=ENV, stdio=(null.fileno(),) * 3).wait(),
        "open_pty": lambda: [os.close(fd) for fd in bottle.open_pty()],
        "open_port": lambda: bottle.open_port(7000).close(),
    }}
    for name, work in works.items():
        used, limits = fill({room})
        try:
            outcome = work() and None
        except BottleError as error:
            outcome = error.why
        except Exception as bug:
            outcome = "bug: " + repr(bug)
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        left = set(map(str, used))
        [os.close(fd) for fd in used]
        found.append([name, outcome])
    count = len(descriptors())
    for work in works.values(): work()
    show([found, len(descriptors()) == count, bottle.alive()])
"""
    found, nothing_lost, alive = keep(person, source)
    assert all(not (outcome or "").startswith("bug: ") for _, outcome in found), found
    assert (nothing_lost, alive) == (True, True)


def test_without_processes_nothing_starts_and_the_next_one_does(person: Person) -> None:
    source = SHORT + """
from claude_bottle.backend.bubblewrap import enter
with launch() as bottle:
    fork = os.fork
    def refuse(): raise BlockingIOError(11, "Resource temporarily unavailable")
    os.fork = refuse
    found = short(bottle, lambda: start(bottle, "true"))
    os.fork = fork
    show([found, start(bottle, "true").wait()])
"""
    expected = ["cannot enter the bottle", "Resource temporarily unavailable", True]
    assert keep(person, source) == [expected, 0]
