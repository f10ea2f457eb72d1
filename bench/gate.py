"""What the gate costs: the same client, outside and inside a real bottle, to the same origin.

Inspected against direct TLS, tunnel against direct TCP, in turns. Direct is the limit; on few CPUs client, gate and origin
compete for them, so the gate's CPU seconds per GiB are told as well. What a tunnel costs beside the direct way depends on
what the origin spends itself, so there are two: one sends from memory, one a file with sendfile(2), as web servers do.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

from bench import origin
from bench.figures import Figure, Ratio, Report, figure
from bench.product import FILE_PORT, ORIGIN, ROOT, TUNNEL_PORT, Product

CLIENTS = 32
_TICK = os.sysconf("SC_CLK_TCK")


class Way(NamedTuple):
    """How the client gets to the origin: inside the bottle or not, and the words for it."""

    name: str
    inside: bool
    words: tuple[str, ...]


class Bench:
    """One bottle with its gate, and the ways to the origin; `bulk` are two more, for what is large."""

    def __init__(self, product: Product, identity: str, served: origin.Served) -> None:
        self._product, self._identity = product, identity
        self._env = product.env | {"SSL_CERT_FILE": str(served.ca)}
        self.gate = product.processes(identity)["gate"]
        self.direct_tls = Way("direct TLS", False, (f"tls:{ORIGIN}", str(served.tls), "127.0.0.1"))
        self.inspected = Way("inspected rule", True, (f"tls:{ORIGIN}", "443", "-"))
        self.direct_tcp = Way("direct TCP", False, (ORIGIN, str(served.tcp), "127.0.0.1"))
        self.tunnel = Way("tunnel rule", True, (ORIGIN, str(TUNNEL_PORT), "-"))
        self.direct_file = Way("direct TCP, a file", False, (ORIGIN, str(served.file), "127.0.0.1"))
        self.tunnel_file = Way("tunnel rule, a file", True, (ORIGIN, str(FILE_PORT), "-"))
        self.ways = (self.direct_tls, self.inspected, self.direct_tcp, self.tunnel)
        self.bulk = (*self.ways, self.direct_file, self.tunnel_file)

    def run(self, way: Way, action: str, *numbers: int) -> dict[str, float]:
        """One measurement by the client itself."""
        words = [action, *way.words, *map(str, numbers)]
        python = "/usr/bin/python3"  # the same interpreter inside and outside
        if way.inside:
            argv = self._product.argv("exec", self._identity, "--", python, "/workspace/client.py", *words)
        else:
            argv = [python, str(ROOT / "bench" / "client.py"), *words]
        done = subprocess.run(argv, env=self._env, cwd=self._product.place, capture_output=True, text=True, check=False)
        if done.returncode:
            sys.exit(f"{way.name}, {action}: {done.stderr[-800:]}")
        found: dict[str, float] = json.loads(done.stdout)
        return found

    def cpu(self) -> float:
        """CPU seconds the gate has used."""
        fields = Path(f"/proc/{self.gate}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICK

    def resident(self, what: str) -> float:
        """MiB: "VmRSS" now, "VmHWM" at most so far."""
        for line in Path(f"/proc/{self.gate}/status").read_text().splitlines():
            if line.startswith(what + ":"):
                return int(line.split()[1]) / 1024
        return 0.0


def measure(report: Report, product: Product, scratch: Path, rounds: int, size: int) -> None:
    if not Path("/usr/bin/python3").exists():
        report.missing.append("gate: no /usr/bin/python3 that a bottle could see (apt install python3)")
        return
    shutil.copy(ROOT / "bench" / "client.py", product.place / "client.py")
    with origin.serving(scratch) as served:
        product.lead_to(served.tls, served.tcp, served.file, served.ca)
        with product.idle_bottle() as identity:
            bench = Bench(product, identity, served)
            _requests(report, bench, rounds, max(4, size >> 22))
            _throughput(report, bench, rounds, size)
            _parallel(report, bench, max(1, size >> 26))


def _throughput(report: Report, bench: Bench, rounds: int, size: int) -> None:
    for way in bench.bulk:
        bench.run(way, "download", 1 << 20)
    rates: dict[Way, list[float]] = {way: [] for way in bench.bulk}
    seconds: dict[Way, list[float]] = {way: [] for way in bench.bulk}
    before = bench.resident("VmRSS")
    for _ in range(rounds):
        for way in bench.bulk:
            cpu = bench.cpu()
            found = bench.run(way, "download", size)
            rates[way].append(found["bytes"] / found["seconds"] / 1e6)
            seconds[way].append((bench.cpu() - cpu) * (1 << 30) / size)
    rows = {
        way: figure(way.name, rates[way], "MB/s", **({"gate_cpu_s_per_GiB": min(seconds[way])} if way.inside else {}))
        for way in bench.bulk
    }
    report.sections[f"one download of {size >> 20} MiB"] = list(rows.values())
    for ours, theirs, goal in (
        (bench.inspected, bench.direct_tls, 0.5), (bench.tunnel, bench.direct_tcp, 0.6),
        (bench.tunnel_file, bench.direct_file, 0.6),
    ):  # fmt: skip
        report.compare(f"{ours.name} / {theirs.name}, bulk rate", rows[ours], rows[theirs], goal, at_most=False)
    growth = bench.resident("VmHWM") - before
    report.ratios.append(Ratio("the gate's memory growth at its highest, bulk", growth, 8, unit="MiB"))


def _requests(report: Report, bench: Bench, rounds: int, count: int) -> None:
    figures: list[Figure] = []
    found = {way: [bench.run(way, "requests", count) for _ in range(rounds)] for way in bench.ways}
    for kind, words in (("new", "new connection"), ("kept", "kept connection")):
        for way in bench.ways:
            figures.append(figure(f"{way.name}, {words}", [one[kind] * 1e3 for one in found[way]], "ms"))
    report.sections["one small request"] = figures


def _parallel(report: Report, bench: Bench, each: int) -> None:
    rows, errors = [], 0.0
    for way in bench.ways:
        found = bench.run(way, "parallel", CLIENTS, each)
        rows.append(figure(way.name, [found["done"] / found["seconds"]], "req/s", errors=found["errors"]))
        errors += found["errors"] if way.inside else 0
    report.sections[f"{CLIENTS} clients at once, 64 KiB a request, 4 a connection"] = rows
    report.ratios.append(Ratio(f"errors of {CLIENTS} parallel clients", errors, 0, unit=""))
