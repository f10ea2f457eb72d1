"""What every process that we fork does before anything else.

A fork of the keeper carries its handlers, timers and descriptors, and must neither run nor flush nor keep
any of them. These functions only remove; after them the process holds the descriptors it was given and
default signals.
"""

from __future__ import annotations

import contextlib
import fcntl
import gc
import json
import os
import signal
from collections.abc import Callable
from typing import NoReturn

from claude_bottle.backend import namespaces as ns
from claude_bottle.errors import BottleError, EnvironmentLacks

_ABOVE_ALL = 64


def arrange_descriptors(wanted: list[int], inheritable: int) -> None:
    """Put `wanted` at 0, 1, 2, … and close everything else; the first `inheritable` of them survive exec."""
    parked = [fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, _ABOVE_ALL) for descriptor in wanted]
    for place, descriptor in enumerate(parked):
        os.dup2(descriptor, place, inheritable=place < inheritable)
    ns.close_from(len(wanted))


def forget_signals() -> None:
    """Default handlers, nothing blocked. The collector is stopped: no finaliser of the parent's shall run
    here."""
    gc.disable()
    with contextlib.suppress(ValueError):
        signal.set_wakeup_fd(-1)
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        with contextlib.suppress(OSError, ValueError):
            signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def run_child(work: Callable[[], None], report: Callable[[], int]) -> NoReturn:
    """Run the child's side of a fork. It ends in exec, or here: the failure goes to the descriptor
    `report()`."""
    try:
        work()
    except BaseException as failure:
        with contextlib.suppress(BaseException):
            os.write(report(), json.dumps(_describe(failure)).encode())
    finally:
        os._exit(70)


def in_child(work: Callable[[], None]) -> None:
    """Run `work` in a child that ends with it; raises what it raised (as BottleError)."""
    report, report_end = os.pipe()
    child = os.fork()
    if child == 0:

        def start() -> None:
            forget_signals()
            work()
            os._exit(0)

        run_child(start, lambda: report_end)
    os.close(report_end)
    try:
        failure = read_all(report)
        os.waitpid(child, 0)
    finally:
        os.close(report)
    if failure:
        raise rebuild(failure)


def _describe(failure: BaseException) -> dict[str, object]:
    if isinstance(failure, BottleError):
        return failure.to_dict()
    if isinstance(failure, OSError):
        where = f" ({failure.filename})" if failure.filename else ""
        return EnvironmentLacks(
            "cannot set up the sandbox",
            why=f"{failure.strerror or failure}{where}",
            do="run: claude-bottle doctor",
        ).to_dict()
    return BottleError("cannot set up the sandbox", why=f"{type(failure).__name__}: {failure}").to_dict()


def read_all(descriptor: int) -> bytes:
    """Everything until end of file."""
    chunks = []
    while chunk := os.read(descriptor, 65536):
        chunks.append(chunk)
    return b"".join(chunks)


def rebuild(said: bytes) -> BottleError:
    """The error a child reported."""
    return BottleError.from_dict(json.loads(said))
