"""A throw-away project for the product under test: manifest, settings, state root, and its command line as users type it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.figures import Figure, figure

_STEP = re.compile(r"timing +[0-9.]+ ms +\+ +([0-9.]+) +(.+)")
ROOT = Path(__file__).resolve().parent.parent
CLI = Path(sys.executable).parent / "claude-bottle"
ORIGIN = "origin.bottle.test"
TUNNEL_PORT, FILE_PORT = 5432, 5433
MANIFEST = {
    "version": 1,
    "bottles": {
        "both": {
            "workspace": {"mode": "bind"},
            "egress": [
                {"host": ORIGIN},
                *({"host": ORIGIN, "port": port, "tls": "tunnel"} for port in (TUNNEL_PORT, FILE_PORT)),
            ],
        },
        "opaque": {"egress": [{"host": "db.example.com", "port": TUNNEL_PORT, "tls": "tunnel"}]},
        "container": {"egress": [{"host": ORIGIN}]},
    },
    "agents": {
        "shell": {"bottle": "both", "harness": "shell"},
        "opaque": {"bottle": "opaque", "harness": "shell"},
        "container": {"bottle": "container", "harness": "shell"},
    },
}


class Product:
    """One operator's project in `place`. `env` and `place` are what its commands run with."""

    def __init__(self, place: Path, **env: str) -> None:
        self.place = place / "project"
        self.home = place / "bottle-home"
        self.place.mkdir()
        self.home.mkdir(mode=0o700)
        self.env = {**os.environ, "CLAUDE_BOTTLE_HOME": str(self.home), **env}
        self.env.pop("PYTHONDONTWRITEBYTECODE", None)  # nobody's user runs without .pyc files
        self.env.pop("CLAUDE_BOTTLE_TIMING", None)
        (self.place / "claude-bottle.json").write_text(json.dumps(MANIFEST))
        self.command("trust", "--yes")

    def argv(self, *words: str) -> list[str]:
        return [str(CLI), *words] if CLI.exists() else [sys.executable, "-m", "claude_bottle", *words]

    def command(self, *words: str, **env: str) -> subprocess.CompletedProcess[str]:
        """Run it to its end; SystemExit with its last words if it fails."""
        done = subprocess.run(
            self.argv(*words), cwd=self.place, env=self.env | env, capture_output=True, text=True, check=False,
            stdin=subprocess.DEVNULL,
        )  # fmt: skip
        if done.returncode:
            sys.exit(f"claude-bottle {' '.join(words)} ended with {done.returncode}: {done.stderr[-800:]}")
        return done

    def breakdown(self, *words: str, runs: int) -> list[Figure]:
        """Where a command's time goes, by its own account (CLAUDE_BOTTLE_TIMING=1), step by step."""
        steps: dict[str, list[float]] = {}
        for _ in range(runs):
            for took, name in _STEP.findall(self.command(*words, CLAUDE_BOTTLE_TIMING="1").stderr):
                steps.setdefault(name, []).append(float(took))
        return [figure(name, values, "ms") for name, values in steps.items()]

    def lead_to(self, tls_port: int, tcp_port: int, file_port: int, ca: Path) -> None:
        """Names of the manifest lead to an origin of ours (`config.json` is the operator's word for that)."""
        upstreams = {
            f"{ORIGIN}:443": {"connect": f"127.0.0.1:{tls_port}", "ca": str(ca)},
            f"{ORIGIN}:{TUNNEL_PORT}": {"connect": f"127.0.0.1:{tcp_port}"},
            f"{ORIGIN}:{FILE_PORT}": {"connect": f"127.0.0.1:{file_port}"},
        }
        config = self.home / "config.json"
        config.write_text(json.dumps({"upstreams": upstreams}))
        config.chmod(0o600)

    @contextmanager
    def idle_bottle(self) -> Iterator[str]:
        """A bottle whose agent sleeps; its identity."""
        identity = self.command("start", "shell", "--yes", "--detach", "--", "sleep", "infinity").stdout.split()[-1]
        try:
            yield identity
        finally:
            self.command("stop", identity)

    def processes(self, identity: str) -> dict[str, int]:
        """{"keeper": pid, "gate": pid} of a running bottle."""
        record = json.loads((self.home / "state" / identity / "record.json").read_text())
        keeper = int(record["keeper"]["pid"])
        children = Path(f"/proc/{keeper}/task/{keeper}/children").read_text().split()
        gates = [int(pid) for pid in children if b"claude_bottle.gate" in Path(f"/proc/{pid}/cmdline").read_bytes()]
        return {"keeper": keeper, "gate": gates[0]}
