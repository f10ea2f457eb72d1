"""The bench runs, and says what it did not measure. What it measures is nobody's business here: a clock proves nothing."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
GOALS = ("ls / python3", "inspected rule / direct TLS", "tunnel rule / direct TCP", "memory growth", "32 parallel clients")


def test_the_bench_prints_its_table(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "bench", "--quick", "--json", str(tmp_path / "figures.json")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=500, check=False)
    assert done.returncode == 0, done.stderr
    assert not [goal for goal in GOALS if goal not in done.stdout], done.stdout
    found = json.loads((tmp_path / "figures.json").read_text())
    assert found["sections"]["where a launch goes (inspected rule)"]
    told = " ".join(found["missing"]) + " ".join(ratio["what"] for ratio in found["ratios"])
    assert not [peer for peer in ("srt", "docker run", "keeper") if peer not in told], "measured, or said why not"
    errors = [ratio["value"] for ratio in found["ratios"] if "errors" in ratio["what"]]
    assert errors == [0]
