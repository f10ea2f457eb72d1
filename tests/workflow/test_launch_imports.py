"""What a launch loads is most of what it costs: see docs/performance.md for each of these."""

from __future__ import annotations

import subprocess
import sys

OFF_THE_WAY = {
    "asyncio", "cryptography", "dataclasses", "h11", "importlib.resources", "jsonschema", "shutil", "ssl",
    "subprocess", "tempfile", "zipfile",
}  # fmt: skip
ON_THE_WAY = (
    "claude_bottle.cli.run", "claude_bottle.workflow.start", "claude_bottle.workflow.piping", "claude_bottle.manifest.build",
    "claude_bottle.harness.shell", "claude_bottle.keeper.main", "claude_bottle.backend.bubblewrap.backend",
    "claude_bottle.backend.docker.backend", "claude_bottle.backend.docker.request", "claude_bottle.backend.docker.endpoint",
)  # fmt: skip


def test_a_launch_loads_nothing_that_can_wait_or_be_done_without() -> None:
    code = f"import sys, {', '.join(ON_THE_WAY)}; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert "claude_bottle.workflow.start" in loaded
    assert not OFF_THE_WAY & set(loaded)
