"""How a container that is ending is told from one whose agent was killed alone."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import threading
from pathlib import Path

import pytest

from claude_bottle.backend.docker import memory
from claude_bottle.backend.docker.engine import Engine
from tests.waiting import ended, eventually, readable, stopped


@pytest.fixture
def engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Engine:
    """Which knows of exhausted memory, whatever container it is asked about."""
    (tmp_path / "docker").write_text("#!/bin/sh\necho oom\n")
    (tmp_path / "docker").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    return Engine()


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def test_where_the_first_process_lives_on_the_engine_is_not_asked(engine: Engine) -> None:
    first = subprocess.Popen(["sleep", "1000"])
    pidfd = os.pidfd_open(first.pid)
    try:
        assert not memory.met_limit(engine, "c0ffee", first.pid, pidfd)
        first.kill()
        assert readable(pidfd)
        assert memory.met_limit(engine, "c0ffee", first.pid, pidfd)
    finally:
        first.wait()
        os.close(pidfd)


@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("nsenter"), reason="cannot run here: takes root and nsenter")
def test_one_that_takes_its_time_to_end_is_waited_for(engine: Engine) -> None:
    """A first process is gone when everybody in its namespace is, and collected; its sockets are closed before."""
    outer = subprocess.Popen(["unshare", "--pid", "--fork", "sleep", "1000"])
    eventually(lambda: children(outer.pid))
    (first,) = children(outer.pid)
    inner = subprocess.Popen(["nsenter", f"--target={first}", "--pid", "sleep", "1000"])
    eventually(lambda: children(inner.pid))
    (last,) = children(inner.pid)
    inner.send_signal(signal.SIGSTOP)
    eventually(lambda: stopped(inner.pid))
    pidfd = os.pidfd_open(first)
    os.kill(first, signal.SIGKILL)
    eventually(lambda: memory._ending(first))
    assert ended(last) and not readable(pidfd, 0)
    collecting = threading.Timer(1.0, inner.send_signal, (signal.SIGCONT,))
    collecting.start()
    try:
        assert memory.met_limit(engine, "c0ffee", first, pidfd)
    finally:
        collecting.join()
        outer.wait()
        inner.wait()
        os.close(pidfd)
