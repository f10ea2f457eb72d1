"""Cut an operation off at each of its system calls, as a kill or a power cut would.

`each_crash` runs the operation again and again in a child that dies just before its n-th changing call, then lets the
test look at what is left. `PowerCut` records what an operation did to the disk and tells what a power cut after each
step may leave: names as they were changed, but of each file only the bytes that had been forced to the disk.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

_CHANGING = ("open", "write", "pwrite", "fsync", "fdatasync", "rename", "mkdir", "unlink", "rmdir", "ftruncate", "link",
             "fchmod")  # fmt: skip


def each_crash(operation: Callable[[], object]) -> Iterator[int]:
    """Yields after each crash; ends when the operation came through whole. The test resets the disk in between."""
    count = 1
    while crash(operation, count):
        yield count
        count += 1


def crash(operation: Callable[[], object], count: int) -> bool:
    """Run the operation in a child that dies just before its `count`-th changing call. False when it came through whole."""
    child = os.fork()
    if child == 0:
        _run_until(operation, count)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert code in (0, 9), f"the operation failed by itself at call {count}"
    return code == 9


def _run_until(operation: Callable[[], object], count: int) -> None:
    left = count
    for name in _CHANGING:
        real = getattr(os, name)

        def dying(*args: object, _real: Callable[..., object] = real, **kwargs: object) -> object:
            nonlocal left
            left -= 1
            if left == 0:
                os._exit(9)
            return _real(*args, **kwargs)

        setattr(os, name, dying)
    try:
        operation()
        os._exit(0)
    except BaseException:  # the child must never return into the test
        import traceback

        traceback.print_exc()
        os._exit(1)


class PowerCut:
    """What a power cut may leave of one file after each step of an operation on it."""

    def __init__(self, target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.target = target
        self.durable: dict[int, bytes] = {}
        self.after_each_step: list[bytes] = []
        self.unsynced_names = False
        if target.exists():
            self.durable[target.stat().st_ino] = target.read_bytes()
        for name in ("open", "write", "fsync", "rename", "unlink", "fchmod"):
            monkeypatch.setattr(os, name, self._recording(name, getattr(os, name)))

    def _recording(self, name: str, real: Callable[..., object]) -> Callable[..., object]:
        def recording(*args: object, **kwargs: object) -> object:
            result = real(*args, **kwargs)
            if name == "fsync":
                self._synced(int(str(args[0])))
            if name == "rename":
                self.unsynced_names = True
            if self.target.exists():
                self.after_each_step.append(self.durable.get(self.target.stat().st_ino, b""))
            return result

        return recording

    def _synced(self, fd: int) -> None:
        found = Path(os.readlink(f"/proc/self/fd/{fd}"))
        if found.is_dir():
            self.unsynced_names = False
        else:
            self.durable[os.fstat(fd).st_ino] = found.read_bytes()
