"""What a launch costs: `run shell -- true` with everything on, beside bare bwrap, docker and srt; and `ls`.

The breakdown at the end is the product's own (CLAUDE_BOTTLE_TIMING=1), median by step, so that whoever makes it faster
knows where the time goes.
"""

from __future__ import annotations

import statistics
import sys
from pathlib import Path

from bench import peers
from bench.figures import Report, figure
from bench.launching import interleaved
from bench.product import Product

PYTHON, BWRAP, DOCKER, SRT = "python3 -c pass", "bare bwrap … true", "docker run --network none … true", "srt true"
OURS, OPAQUE, LS = "claude-bottle run (inspected rule)", "claude-bottle run (tunnel rule)", "claude-bottle ls"


def measure(report: Report, product: Product, scratch: Path, runs: int, *, install: bool) -> None:
    found = {BWRAP: peers.bubblewrap(), DOCKER: peers.docker(), SRT: peers.srt(scratch, install=install)}
    report.missing += [f"{name}: {peer.why}" for name, peer in found.items() if isinstance(peer, peers.Missing)]
    cases = {PYTHON: [sys.executable, "-c", "pass"]}
    cases |= {name: peer for name, peer in found.items() if not isinstance(peer, peers.Missing)}
    cases |= {
        OURS: product.argv("run", "shell", "--", "true"),
        OPAQUE: product.argv("run", "opaque", "--", "true"),
        LS: product.argv("ls"),
    }
    taken = interleaved(cases, runs, cwd=product.place, env=product.env)
    rows = {
        name: figure(name, [cost.wall for cost in costs], "ms", cpu_ms=statistics.median(cost.cpu for cost in costs))
        for name, costs in taken.items()
    }
    report.sections["launch: command to exit"] = list(rows.values())
    report.sections["where a launch goes (inspected rule)"] = product.breakdown(
        "run", "shell", "--", "true", runs=max(2, runs // 2)
    )  # fmt: skip
    for name, goal in ((SRT, 0.5), (DOCKER, 1.0)):
        if name in rows:
            report.compare(f"run shell -- true / {name}", rows[OURS], rows[name], goal)
    report.compare("ls / python3 -c pass", rows[LS], rows[PYTHON], 4.0)
