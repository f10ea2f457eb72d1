from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.waiting import SECONDS

MODEL = [sys.executable, "-m", "claude_bottle.testing.model"]


@pytest.fixture
def script(tmp_path: Path) -> Path:
    path = tmp_path / "script.json"
    path.write_text('[{"say": "hello"}]')
    return path


def test_it_says_when_it_is_ready_and_stops_when_told(script: Path, tmp_path: Path) -> None:
    argv = [*MODEL, "--script", str(script), "--directory", str(tmp_path)]
    child = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    ready = json.loads(child.stdout.readline())
    assert ready["pid"] == child.pid
    assert ready["url"] == f"https://127.0.0.1:{ready['port']}"
    assert Path(ready["ca"]).read_text().startswith("-----BEGIN CERTIFICATE")
    child.send_signal(signal.SIGTERM)
    child.communicate()
    assert child.returncode == 0


def test_it_dies_with_its_parent(script: Path) -> None:
    parent_code = (
        "import os, subprocess, sys\n"
        "child = subprocess.Popen([*sys.argv[1:], '--die-with', str(os.getpid())], stdout=subprocess.PIPE)\n"
        "print(child.stdout.readline().decode().strip(), flush=True)\n"
        "sys.stdin.read()\n"
    )
    argv = [sys.executable, "-c", parent_code, *MODEL, "--script", str(script), "--plain"]
    parent = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    model = os.pidfd_open(json.loads(parent.stdout.readline())["pid"])
    parent.kill()
    parent.communicate()
    ended, _, _ = select.select([model], [], [], SECONDS)
    os.close(model)
    assert ended


def test_it_does_not_start_for_a_parent_that_is_gone(script: Path) -> None:
    done = subprocess.run(
        [*MODEL, "--script", str(script), "--plain", "--die-with", "4194304"],
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert "is gone" in done.stderr


@pytest.mark.parametrize("content", [None, "{", '{"turn": 1}'])
def test_a_script_it_cannot_use_is_one_clear_error(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "script.json"
    if content is not None:
        path.write_text(content)
    done = subprocess.run(
        [*MODEL, "--script", str(path), "--plain"], capture_output=True, text=True, timeout=SECONDS, check=False
    )
    assert done.returncode == 1
    assert "script" in done.stderr
    assert "Traceback" not in done.stderr
