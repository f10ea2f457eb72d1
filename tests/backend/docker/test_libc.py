"""A container's first process calls the C library, whichever half of ctypes its interpreter has."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

import claude_bottle.backend.docker as package

# Beside nothing of ours, as in a container. Without its C half, ctypes itself must have been there before.
PROGRAM = """
import sys
if {0}:
    import ctypes
    sys.modules["_ctypes"] = None
sys.path.insert(0, {1!r})
import json, os
before = set(sys.modules)
import libc
loaded = sorted(set(sys.modules) - before)
try:
    libc.checked(libc.call("close")(-1))
except OSError as failure:
    failed = failure.errno
buffer = libc.Buffer(b"in memory")
ours, theirs = os.pipe()
libc.checked(libc.call("write")(theirs, b"passed", 4))
with open("/proc/self/mem", "rb") as memory:
    memory.seek(buffer.address)
    found = memory.read(9).decode(), os.read(ours, 9).decode()
print(json.dumps([libc.call("getpid")() == os.getpid(), failed, *found, loaded]))
"""


@pytest.mark.parametrize("lacking", [False, True], ids=["CPython", "another interpreter"])
def test_calls_give_what_they_give_and_failures_their_reason(lacking: bool) -> None:
    program = PROGRAM.format(lacking, str(Path(package.__file__).parent))
    done = subprocess.run([sys.executable, "-I", "-S", "-c", program], capture_output=True, check=True)
    *found, loaded = json.loads(done.stdout)
    assert found == [True, 9, "in memory", "pass"]
    assert lacking or "ctypes" not in loaded
