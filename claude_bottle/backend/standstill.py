"""Having every program of a bottle stand still for a moment, and go on as if nothing had been.

SIGSTOP, from those we started down to the last of their children, again until no new one is found: what stands still
begets nobody. No one is stopped before its parent stands still, and they are let go in the opposite order, children first,
so that no shell sees a job of its own stopped. Who belongs to the bottle is told by descent: what was started in it, and
what its first process has adopted.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

_ROUNDS = 20
# Whose child one is that the keeper started, whatever is between them.
_STARTED = 0
# For one that waits for a disk: it stops when it has what it waits for, and the copy is taken all the same.
_SECONDS, _PAUSE = 2.0, 0.0005


@contextlib.contextmanager
def standing_still(first: int, started: Sequence[int]) -> Iterator[None]:
    """`first`: the bottle's first process, which does nothing and is left alone; `started`: what the keeper started inside
    and has not collected, so that no number is another's."""
    held, late = dict[int, int](), set[int]()
    try:
        for _ in range(_ROUNDS):
            again = False
            for generation in _generations(first, started):
                for pid, parent in generation.items():
                    again = _hold(pid, parent, held) or again
                _await(generation, held, late, "TRSD")
            if not again:
                break
            _await(held, held, late, "T")
        yield
    finally:
        for pidfd in reversed(held.values()):
            with contextlib.suppress(OSError):
                signal.pidfd_send_signal(pidfd, signal.SIGCONT)
            os.close(pidfd)


def _hold(pid: int, parent: int, held: dict[int, int]) -> bool:
    """Whether there is to be another round. A process that already stood still is left so, and so is one that is not the
    child of `parent` (any more): its number may be another's by now, and if not, the next round finds it where it is."""
    if pid in held:
        return False
    try:
        pidfd = os.pidfd_open(pid)
    except OSError:
        return False
    try:
        runs = _state(pid) not in "TtZX"
        if runs and parent in (_STARTED, _parent(pid)):
            signal.pidfd_send_signal(pidfd, signal.SIGSTOP)
            held[pid] = pidfd
            return True
    except OSError:
        runs = False
    os.close(pidfd)
    return runs


def _await(pids: Iterable[int], held: Mapping[int, int], late: set[int], borrowers: str) -> None:
    """A signal is only a request: until those it went to stand still, or are gone. Who has lent its memory to a child in one
    of these states is not waited for; who does not come to a stop is `late`, and not waited for again."""
    deadline = time.monotonic() + _SECONDS
    for pid in pids:
        while pid in held and pid not in late:
            with contextlib.suppress(OSError):
                if _state(pid) in "RSD" and not _lent(pid, borrowers):
                    if time.monotonic() > deadline:
                        late.add(pid)
                    time.sleep(_PAUSE)
                    continue
            break


def _lent(pid: int, borrowers: str) -> bool:
    """Whether it has lent its memory to a child (vfork, as shells do): it does not run before that child has given it back,
    not even to stop, and counts as waiting for a disk until then."""
    return _state(pid) == "D" and any(
        _state(child) in borrowers and _memory(child) == _memory(pid) for child in _children(pid)
    )


def _generations(first: int, started: Sequence[int]) -> Iterator[dict[int, int]]:
    """Each with whose child it is: parents, then their children, who are looked for when whoever asks is done with their
    parents."""
    known = set[int]()
    generation = dict.fromkeys(_children(first), first) | dict.fromkeys(started, _STARTED)
    while generation:
        yield generation
        known.update(generation)
        generation = {child: pid for pid in generation for child in _children(pid) if child not in known}


def _children(pid: int) -> list[int]:
    """Of all its threads."""
    found: list[int] = []
    with contextlib.suppress(OSError):
        for thread in os.listdir(f"/proc/{pid}/task"):
            with contextlib.suppress(OSError):
                found += map(int, Path(f"/proc/{pid}/task/{thread}/children").read_text().split())
    return found


def _memory(pid: int) -> str:
    """How much it has of each kind: the same in two that share it."""
    return Path(f"/proc/{pid}/statm").read_text()


def _state(pid: int) -> str:
    return stat_fields(pid)[0]


def _parent(pid: int) -> int:
    return int(stat_fields(pid)[1])


def stat_fields(pid: int) -> list[str]:
    """proc_pid_stat(5), from the third field on: what is before it may hold anything. OSError for one that is gone."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
