"""A place to run the real Claude Code in: its own network namespace with the scripted model on its loopback, the
directories it knows from a bottle, and nothing else of what a bottle adds."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from claude_bottle.harness import get
from claude_bottle.harness.base import Launch, Program
from claude_bottle.state.paths import Paths
from tests.harness.screen import Screen
from tests.waiting import SECONDS

REAL_KEY = "sk-ant-api03-the-key-that-the-scripted-model-accepts"
PACKAGE = Path(__file__).resolve().parents[2] / "claude_bottle"
# Starts the model, waits until it is ready, becomes the command.
_TOGETHER = """
"$PYTHON" -m claude_bottle.testing.model --script /model/script.json --directory /model --port 8443 $MODEL_FLAGS \
  --record /model/requests.jsonl --die-with $$ >/model/ready 2>/model/log &
until [ -s /model/ready ]; do kill -0 $! || exit 99; sleep 0.02; done
unset SCRIPTED_MODEL_KEY PYTHONPATH
exec "$@"
"""


@dataclass
class Stage:
    """One private home and one model; `run` and `open` start Claude Code there with a script and a launch."""

    place: Path
    program: Program
    tls: bool = True
    bottled: bool = False
    """Where it is started there is a bottle's network already, which it keeps, with its resolver."""
    env: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("home", "workspace", "model"):
            (self.place / name).mkdir(exist_ok=True)

    @property
    def home(self) -> Path:
        return self.place / "home"

    def requests(self) -> list[dict[str, Any]]:
        record = self.place / "model" / "requests.jsonl"
        return [json.loads(line) for line in record.read_text().splitlines()] if record.exists() else []

    def turns(self) -> list[dict[str, Any]]:
        return [seen for seen in self.requests() if seen["kind"] == "turn"]

    def prepare(self, script: object, launch: Launch) -> list[str]:
        """Seed the home, lay out the script; the argv that starts model and agent."""
        claude = get("claude")
        claude.seed(self.home, launch)
        (self.place / "model" / "script.json").write_text(json.dumps(script))
        (self.place / "model" / "ready").unlink(missing_ok=True)
        variables = {
            "PATH": "/usr/bin:/bin",
            "HOME": "/home/agent",
            "PYTHON": os.path.realpath(sys.executable),
            "PYTHONPATH": ":".join([str(PACKAGE.parent), *(p for p in sys.path if p.endswith("site-packages"))]),
            "SCRIPTED_MODEL_KEY": REAL_KEY,
            "MODEL_FLAGS": "" if self.tls else "--plain",
            "ANTHROPIC_BASE_URL": f"{'https' if self.tls else 'http'}://127.0.0.1:8443",
            "NODE_EXTRA_CA_CERTS": "/model/ca.pem",
            **claude.environment(launch),
            **launch.placeholders,
            **self.env,
        }
        settings = [part for name, value in variables.items() for part in ("--setenv", name, value)]
        return [*self._namespace(), *settings, "/bin/sh", "-c", _TOGETHER, "sh", *claude.command(launch)]

    def run(self, script: object, launch: Launch) -> subprocess.CompletedProcess[str]:
        argv = self.prepare(script, launch)
        return subprocess.run(
            argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=2 * SECONDS, check=False,
        )  # fmt: skip

    def open(self, script: object, launch: Launch) -> Screen:
        return Screen(self.place, self.prepare(script, launch))

    def _namespace(self) -> list[str]:
        bwrap = shutil.which("bwrap")
        if bwrap is None:
            pytest.skip("needs bubblewrap on PATH")
        argv = [bwrap, "--unshare-all", "--uid", "1000", "--gid", "1000", "--die-with-parent", "--clearenv"]
        argv += ["--share-net"] if self.bottled else []
        for name in ("bin", "lib", "lib64", "sbin"):
            argv += ["--symlink", f"usr/{name}", f"/{name}"]
        argv += ["--ro-bind", "/usr", "/usr", "--ro-bind", "/etc", "/etc"]
        if self.bottled:
            (self.place / "resolv.conf").write_text("nameserver 127.0.0.1\n")
            argv += ["--ro-bind", str(self.place / "resolv.conf"), os.path.realpath("/etc/resolv.conf")]
        argv += ["--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp"]
        for path in dict.fromkeys([sys.base_prefix, sys.prefix, str(PACKAGE)]):
            if not path.startswith("/usr/"):
                argv += ["--ro-bind", path, path]
        for source, target in self.program.mounts:
            argv += ["--ro-bind", source, target]
        for name, target in (("home", "/home/agent"), ("workspace", "/workspace"), ("model", "/model")):
            argv += ["--bind", str(self.place / name), target]
        return [*argv, "--chdir", "/workspace"]


@pytest.fixture(scope="session")
def program() -> Program:
    """The real Claude Code: found, else installed once into a directory the test runs share."""
    tools = Path(os.environ.get("CLAUDE_BOTTLE_TEST_TOOLS") or Path.home() / ".cache" / "claude-bottle-test-tools")
    paths = Paths(tools.parent / "claude-bottle-test-root", tools)
    claude = get("claude")
    return claude.find(paths) or claude.install(paths, lambda text: None)


@pytest.fixture
def stage(tmp_path: Path, program: Program) -> Stage:
    return Stage(tmp_path, program)
