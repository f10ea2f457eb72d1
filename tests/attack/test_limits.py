"""Attack cases on what a bottle may use (threats.md §2, 115–120; I16): the limit hurts the agent, and nobody else."""

from __future__ import annotations

import pytest

from tests.attack.operators import SMALL_MEMORY, SMALL_PIDS, Bottle, Operator, titles
from tests.attack.probes import KERNEL
from tests.waiting import eventually

# Forks until it is refused; those that it has begotten sleep on.
BOMB = KERNEL + f"""
import signal
forked, refusal = 0, ""
while forked < {4 * SMALL_PIDS}:
    try:
        child = os.fork()
    except OSError as problem:
        refusal = errno.errorcode[problem.errno]
        break
    if child == 0:
        for s in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
            signal.signal(s, signal.SIG_IGN)
        while True:
            signal.pause()
    forked += 1
print(json.dumps([forked, refusal]))
"""
HOG = "hoard = []\nwhile True: hoard.append(bytearray(b'x') * (16 << 20)); print(len(hoard) * (16 << 20), flush=True)"


@pytest.mark.threat(115)
def test_case_115_a_fork_bomb_meets_its_limit_and_stop_still_works(operator: Operator, bottle: Bottle) -> None:
    with operator.start("small") as small:
        forked, refusal = small.python(BOMB)
        assert (forked < SMALL_PIDS, refusal) == (True, "EAGAIN")
        assert bottle.exec("echo", "fine").stdout == "fine\n"
        operator.do("stop", small.identity)
    eventually(lambda: not titles(small.identity))


@pytest.mark.threat(116)
def test_case_116_a_memory_hog_is_ended_and_nobody_else(operator: Operator, bottle: Bottle) -> None:
    with operator.start("small") as small:
        hog = small.exec("/usr/bin/python3", "-I", "-c", HOG)
        assert hog.returncode != 0
        assert int(hog.stdout.split()[-1]) <= SMALL_MEMORY
        assert small.exec("echo", "fine").stdout == "fine\n"
        assert bottle.exec("echo", "fine").stdout == "fine\n"


@pytest.mark.threat(116)
def test_case_116_what_fills_a_private_tmpfs_hurts_nobody_else(operator: Operator, bottle: Bottle) -> None:
    """It counts as the bottle's memory, or each is small; either way it ends within the bottle's limit."""
    with operator.start("small") as small:
        places = "/tmp /var/tmp /dev/shm"
        fill = f"for place in {places} /run; do cat /dev/zero > $place/full; done; du -scb {places}"
        filled = small.exec("/bin/sh", "-c", fill)
        if filled.returncode == 0:
            assert int(filled.stdout.splitlines()[-1].split()[0]) <= SMALL_MEMORY
        assert bottle.exec("echo", "fine").stdout == "fine\n"
    eventually(lambda: not titles(small.identity))  # where it took the first process along, it settles by itself
