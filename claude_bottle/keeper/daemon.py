"""How a process of ours cuts loose from whoever started it, and what it shows of itself.

A keeper outlives its terminal, so it keeps no descriptor, directory, mask or signal of its parent's. Handlers here are
functions that do nothing rather than SIG_IGN: an ignored signal would be inherited by everything it executes.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterable

_STAYS_UP = (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTTIN, signal.SIGTTOU, signal.SIGTSTP,
             signal.SIGUSR1, signal.SIGUSR2)  # fmt: skip


def detach(keep: Iterable[int]) -> int:
    """Make this process a daemon that only SIGTERM asks to end; it holds nothing but `keep` and an empty stdio.

    Returns a descriptor that becomes readable when a signal has arrived (the signal's number, one byte each).
    """
    os.chdir("/")
    os.umask(0o077)
    null = os.open("/dev/null", os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(null, fd)
    close_all_but(keep)
    readable, writable = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.set_wakeup_fd(writable, warn_on_full_buffer=False)
    for number in (*_STAYS_UP, signal.SIGTERM):
        signal.signal(number, _nothing)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    _no_core_dump()
    return readable


def close_all_but(keep: Iterable[int]) -> None:
    """Close every descriptor above stdio that is not in `keep`."""
    low = 3
    for fd in sorted(set(keep)):
        os.closerange(low, fd)
        low = max(low, fd + 1)
    os.closerange(low, max((int(name) for name in os.listdir("/proc/self/fd")), default=low) + 1)


def die_with_parent() -> None:
    """In a forked child: be killed when the thread that forked it ends, by whatever cause (prctl(2), PR_SET_PDEATHSIG)."""
    import ctypes

    ctypes.CDLL(None).prctl(1, signal.SIGKILL)


def hide_memory() -> None:
    """No tracing, no dump, no reading of our memory by other processes of this user (prctl(2), PR_SET_DUMPABLE).

    Not for a process that still has to write its own /proc entries as an ordinary user: they become root's.
    """
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(4, 0, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_DUMPABLE)")


def _nothing(_number: int, _frame: object) -> None:
    """Woken by the descriptor of `detach`; see there."""


def _no_core_dump() -> None:
    import resource

    resource.setrlimit(resource.RLIMIT_CORE, (1, 1))
