"""`python -m bench`: every measurement in one run, then one table of ratios with their goals.

Nothing is asserted, and a goal that is missed is no failure: a shared machine's clock proves nothing. Ratios of
interleaved runs say something.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from bench import asking, containers, copying, gate, launch, memory, rebooting, working
from bench.figures import Report
from bench.product import Product

PARTS = ("launch", "containers", "gate", "memory", "asking", "copy", "reboot", "work")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)} (default: all)")
    parser.add_argument("--runs", type=int, default=12, help="turns of the launch comparison (default 12)")
    parser.add_argument("--rounds", type=int, default=5, help="turns of the gate comparison (default 5)")
    parser.add_argument("--size", type=int, default=1024, metavar="MIB", help="of one download (default 1024)")
    parser.add_argument("--full", action="store_true", help="work: 1 GiB in 50 000 files (default: a tenth of it)")
    parser.add_argument("--quick", action="store_true", help="once, and little of it: only to see that it runs")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    options = parser.parse_args()
    if unknown := set(options.parts) - set(PARTS):
        parser.error(f"no such part: {', '.join(sorted(unknown))}")
    if options.quick:
        options.runs, options.rounds, options.size = 1, 1, 4
    parts, report = options.parts or PARTS, Report()
    with tempfile.TemporaryDirectory(prefix="claude-bottle-bench-") as scratch:
        product = Product(Path(scratch))
        if "launch" in parts:
            launch.measure(report, product, Path(scratch), options.runs, install=not options.quick)
        if "containers" in parts:
            containers.measure(report, Path(scratch), options.runs)
        if "memory" in parts:
            memory.measure(report, product)
        if "asking" in parts:
            asking.measure(report, product, options.runs)
        if "gate" in parts:
            gate.measure(report, product, Path(scratch), options.rounds, options.size << 20)
        if "copy" in parts:
            files, mib = (200, 4) if options.quick else (50_000, 1024)
            copying.measure(report, Path(scratch), 1 if options.quick else 3, files, mib)
        if "reboot" in parts:
            rebooting.measure(report, Path(scratch), max(1, options.runs // 3))
        if "work" in parts:
            files, mib = (200, 4) if options.quick else (50_000, 1024) if options.full else (5_000, 100)
            working.measure(report, product, Path(scratch), 1 if options.quick else 5, files, mib)
    print(report.text())
    if options.json:
        report.write(options.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
