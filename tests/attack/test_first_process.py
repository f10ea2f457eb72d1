"""The first process has the agent's user: what the kernel would let an agent do to it by that, the filter refuses."""

from __future__ import annotations

from tests.attack.operators import Bottle


def test_the_first_process_cannot_be_starved(bottle: Bottle) -> None:
    """At idle priority among busy programs it would not notice its keeper's end, and SIGKILL, which it has to be run for,
    would end nothing: a container stayed for a minute."""
    source = """
import json, os
before = os.getpriority(os.PRIO_PROCESS, 1)
def attempt(call, *arguments):
    try:
        call(*arguments)
    except PermissionError:
        return False
    return True
found = {
    "idle": attempt(os.sched_setscheduler, 1, os.SCHED_IDLE, os.sched_param(0)),
    "nice": attempt(os.setpriority, os.PRIO_PROCESS, 1, 19),
    "its group": attempt(os.setpriority, os.PRIO_PGRP, 1, 19),
    "all of the user's": attempt(os.setpriority, os.PRIO_USER, 0, 19),
    "own": attempt(os.nice, 5) and attempt(os.sched_setscheduler, 0, os.SCHED_IDLE, os.sched_param(0)),
}
print(json.dumps([found, os.sched_getscheduler(1), os.getpriority(os.PRIO_PROCESS, 1) - before]))
"""
    refused = dict.fromkeys(("idle", "nice", "its group", "all of the user's"), False)
    assert bottle.python(source) == [{**refused, "own": True}, 0, 0]
