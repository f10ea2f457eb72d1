"""The checked-in seccomp filter for this machine.

The bytes are made by `scripts/seccomp_filter.py` from `seccomp_policy`; here they are only read. Every
process of a bottle gets the same filter: the first one through bwrap, all others before they execute
anything.
"""

from __future__ import annotations

import os

from claude_bottle.errors import EnvironmentLacks


def filter_program(*, build: bool = False) -> bytes:
    """An array of struct sock_filter, for a bottle or a build as many users. EnvironmentLacks on an architecture
    without one."""
    machine = os.uname().machine
    file = f"{os.path.dirname(__file__)}/seccomp_{'build_' if build else ''}{machine}.bpf"
    if not os.path.isfile(file):
        raise EnvironmentLacks(
            f"no seccomp filter for {machine}",
            why="bottles run on x86_64 and aarch64",
            do="use such a machine",
        )
    with open(file, "rb") as program:
        return program.read()
